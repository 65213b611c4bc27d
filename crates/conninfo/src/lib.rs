#![forbid(unsafe_code)]
//! Connection strings as libpq reads them: `postgres://…` URIs and `key=value` lists.
//!
//! The rules are those of the manual's section "Connection Strings". Environment variables, the password file and
//! service files are never consulted: they belong to the server's operating-system user, not to the caller.

mod keyvalue;
mod uri;

use serde::{Deserialize, Serialize};
use std::fmt;

/// A connection string, taken apart. `Debug` and `Display` never show the password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnInfo {
    /// In the order of the string; at least one. A host that begins with `/` is a socket directory.
    pub hosts: Vec<Host>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: Option<String>,
    pub ssl_mode: SslMode,
    pub ssl_root_cert: Option<String>,
    pub ssl_cert: Option<String>,
    pub ssl_key: Option<String>,
    pub channel_binding: Option<String>,
    pub target_session_attrs: Option<String>,
    pub application_name: Option<String>,
    pub options: Option<String>,
    /// Seconds for each host; `None` waits as long as the operating system does.
    pub connect_timeout: Option<u32>,
    pub keepalives: bool,
    /// Seconds.
    pub keepalives_idle: Option<u32>,
    /// Seconds.
    pub keepalives_interval: Option<u32>,
    pub keepalives_count: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub name: String,
    pub port: u16,
}

impl Host {
    pub fn is_socket_directory(&self) -> bool {
        self.name.starts_with('/')
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SslMode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What is wrong with a connection string. Its text never quotes a value, because the value may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnInfoError {
    Syntax(&'static str),
    UnknownParameter(String),
    /// Known to libpq, but without meaning or support here.
    UnsupportedParameter(String),
    InvalidValue(String),
    /// Several hosts with another number of ports.
    PortCount {
        hosts: usize,
        ports: usize,
    },
}

impl fmt::Display for ConnInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => write!(f, "{what}"),
            Self::UnknownParameter(name) => write!(f, "unknown connection parameter \"{name}\""),
            Self::UnsupportedParameter(name) => {
                write!(f, "connection parameter \"{name}\" is not supported")
            }
            Self::InvalidValue(name) => {
                write!(f, "invalid value for connection parameter \"{name}\"")
            }
            Self::PortCount { hosts, ports } => {
                write!(f, "could not match {ports} port numbers to {hosts} hosts")
            }
        }
    }
}

impl std::error::Error for ConnInfoError {}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnInfo({self})")
    }
}

/// `user@host:port/database`, for messages.
impl fmt::Display for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        for (position, host) in self.hosts.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", host.name, host.port)?;
        }
        match self.database.as_ref().or(self.user.as_ref()) {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

/// A parameter's name and value, as written.
type Parameters = Vec<(String, String)>;

impl ConnInfo {
    /// Whether the text is meant as a connection string; if not, it may be the name of a foreign server.
    pub fn looks_like(text: &str) -> bool {
        uri::scheme_length(text).is_some() || text.contains('=')
    }

    /// # Errors
    /// [`ConnInfoError`] for a string that libpq would not take, or a parameter that is not supported here.
    pub fn parse(text: &str) -> Result<Self, ConnInfoError> {
        let parameters = match uri::scheme_length(text) {
            Some(length) => uri::parse(&text[length..])?,
            None => keyvalue::parse(text)?,
        };
        Self::from_parameters(parameters)
    }

    /// From options as a foreign server and its user mapping hold them.
    ///
    /// # Errors
    /// As for [`ConnInfo::parse`].
    pub fn from_parameters(parameters: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConnInfoError> {
        let mut info = Self { keepalives: true, ..Self::default() };
        let (mut hosts, mut addresses, mut ports) = (None, None, None);
        for (name, value) in parameters {
            let invalid = || ConnInfoError::InvalidValue(name.clone());
            // libpq treats an empty value as the parameter's default.
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "host" => hosts = Some(value),
                "hostaddr" => addresses = Some(value),
                "port" => ports = Some(value),
                "user" => info.user = Some(value),
                "password" => info.password = Some(value),
                "dbname" => info.database = Some(value),
                "sslmode" => info.ssl_mode = ssl_mode(&value).ok_or_else(invalid)?,
                "ssl" if value == "true" => info.ssl_mode = SslMode::Require,
                "sslrootcert" => info.ssl_root_cert = Some(value),
                "sslcert" => info.ssl_cert = Some(value),
                "sslkey" => info.ssl_key = Some(value),
                "channel_binding" => {
                    info.channel_binding = Some(one_of(value, &["disable", "prefer", "require"]).ok_or_else(invalid)?)
                }
                "target_session_attrs" => {
                    const KNOWN: [&str; 6] = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"];
                    info.target_session_attrs = Some(one_of(value, &KNOWN).ok_or_else(invalid)?);
                }
                "application_name" => info.application_name = Some(value),
                "fallback_application_name" => info.application_name = info.application_name.or(Some(value)),
                "options" => info.options = Some(value),
                "connect_timeout" => {
                    let seconds: i64 = value.trim().parse().map_err(|_| invalid())?;
                    // As in libpq: zero and below wait for ever, and a single second is too little to be meant.
                    info.connect_timeout = u32::try_from(seconds).ok().filter(|&seconds| seconds > 0);
                    info.connect_timeout = info.connect_timeout.map(|seconds| seconds.max(2));
                }
                "keepalives" => info.keepalives = value.trim() != "0",
                "keepalives_idle" => info.keepalives_idle = Some(value.trim().parse().map_err(|_| invalid())?),
                "keepalives_interval" => info.keepalives_interval = Some(value.trim().parse().map_err(|_| invalid())?),
                "keepalives_count" => info.keepalives_count = Some(value.trim().parse().map_err(|_| invalid())?),
                // The session's encoding is always the destination's; GSS encryption is never tried.
                "client_encoding" => {}
                "gssencmode" if value != "require" => {}
                name if LIBPQ_ONLY.contains(&name) => {
                    return Err(ConnInfoError::UnsupportedParameter(name.into()));
                }
                _ => return Err(ConnInfoError::UnknownParameter(name)),
            }
        }
        info.hosts = pair_hosts(hosts, addresses, ports)?;
        Ok(info)
    }
}

const LIBPQ_ONLY: &[&str] = &[
    "gssencmode",
    "gssdelegation",
    "krbsrvname",
    "gsslib",
    "passfile",
    "service",
    "servicefile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "max_protocol_version",
    "min_protocol_version",
    "load_balance_hosts",
    "tcp_user_timeout",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
];

fn ssl_mode(value: &str) -> Option<SslMode> {
    Some(match value {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return None,
    })
}

fn one_of(value: String, known: &[&str]) -> Option<String> {
    known.contains(&value.as_str()).then_some(value)
}

fn pair_hosts(
    hosts: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
) -> Result<Vec<Host>, ConnInfoError> {
    // An address is what is connected to; the name would only matter to verify a certificate.
    let names: Vec<&str> = match addresses.as_deref().or(hosts.as_deref()) {
        Some(list) => list.split(',').collect(),
        None => vec!["localhost"],
    };
    let ports: Vec<u16> = ports
        .as_deref()
        .unwrap_or("")
        .split(',')
        .map(|port| match port.trim() {
            "" => Ok(5432),
            port => match port.parse() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(ConnInfoError::InvalidValue("port".into())),
            },
        })
        .collect::<Result<_, _>>()?;
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(ConnInfoError::PortCount { hosts: names.len(), ports: ports.len() });
    }
    let port = |position: usize| ports.get(position).or(ports.first()).copied().unwrap_or(5432);
    Ok(names
        .iter()
        .enumerate()
        .map(|(position, name)| Host {
            name: if name.is_empty() { "localhost".into() } else { (*name).into() },
            port: port(position),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.into(), port }
    }

    #[test]
    fn uris() {
        let info = ConnInfo::parse("postgres://app:p%40ss:w@[::1]:5433,db2/shop?sslmode=require&connect_timeout=1");
        let info = info.unwrap();
        assert_eq!(info.hosts, [host("::1", 5433), host("db2", 5432)]);
        assert_eq!((info.user.as_deref(), info.password.as_deref()), (Some("app"), Some("p@ss:w")));
        assert_eq!(info.database.as_deref(), Some("shop"));
        assert_eq!((info.ssl_mode, info.connect_timeout), (SslMode::Require, Some(2)));
        let info = ConnInfo::parse("postgresql:///shop?host=/run/postgresql&port=6000").unwrap();
        assert_eq!(info.hosts, [host("/run/postgresql", 6000)]);
        let info = ConnInfo::parse("postgresql://%2Frun%2Fpg/x").unwrap();
        assert_eq!(info.hosts, [host("/run/pg", 5432)]);
        assert_eq!(ConnInfo::parse("postgres://").unwrap().hosts, [host("localhost", 5432)]);
    }

    #[test]
    fn key_value_lists() {
        let info = ConnInfo::parse(r"host=a,b port=1,2 user='o''x' password='it\'s' dbname = shop ");
        assert_eq!(info, Err(ConnInfoError::Syntax("missing \"=\" in the connection string")));
        let info = ConnInfo::parse(r"host=a,b port=1,2 password='it\'s \\' dbname = shop keepalives=0").unwrap();
        assert_eq!(info.hosts, [host("a", 1), host("b", 2)]);
        assert_eq!((info.password.as_deref(), info.database.as_deref()), (Some(r"it's \"), Some("shop")));
        assert!(!info.keepalives);
    }

    #[test]
    fn refusals_name_the_parameter() {
        let error = |text| ConnInfo::parse(text).unwrap_err();
        assert_eq!(error("hots=x"), ConnInfoError::UnknownParameter("hots".into()));
        assert_eq!(error("service=x"), ConnInfoError::UnsupportedParameter("service".into()));
        assert_eq!(error("port=x"), ConnInfoError::InvalidValue("port".into()));
        assert_eq!(error("sslmode=maybe"), ConnInfoError::InvalidValue("sslmode".into()));
        assert_eq!(error("host=a,b,c port=1,2"), ConnInfoError::PortCount { hosts: 3, ports: 2 });
        assert_eq!(error("postgres://a/b?c"), ConnInfoError::Syntax("missing \"=\" in the query of the URI"));
        assert_eq!(error("postgres://a%zz/b"), ConnInfoError::Syntax("invalid percent-encoding in the URI"));
        assert_eq!(error("password='x"), ConnInfoError::Syntax("unterminated quoted value in the connection string"));
    }

    #[test]
    fn the_password_is_never_shown() {
        let info = ConnInfo::parse("postgres://app:geheim@h/shop").unwrap();
        assert_eq!(info.to_string(), "app@h:5432/shop");
        assert!(!format!("{info:?}").contains("geheim"));
        for text in ["password=geheim port=x", "postgres://app:geheim@h:geheim/shop", "password=geheim gehe"] {
            assert!(!ConnInfo::parse(text).unwrap_err().to_string().contains("geheim"), "{text}");
        }
    }
}
