#![forbid(unsafe_code)]
//! Connection strings as libpq reads them: `postgres://…` URIs and `key=value` lists.
//!
//! The rules are those of the manual's section "Connection Strings". Environment variables, the password file and
//! service files are never consulted: they belong to the server's operating-system user, not to the caller.

mod authentication;
mod keyvalue;
mod libpq;
mod parameters;
mod uri;

pub use authentication::AllowedAuthentication;
pub use parameters::{Place, closest, is_known, parameters_of, place_of};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A connection string, taken apart. `Debug` and `Display` never show the password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnInfo {
    /// The hosts in the order of the string; at least one. A host that begins with `/` is a socket directory.
    pub hosts: Vec<Host>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: Option<String>,
    pub ssl_mode: SslMode,
    /// A file of root certificates, or `system` for those that the operating system trusts.
    pub ssl_root_cert: Option<String>,
    pub ssl_crl: Option<String>,
    pub ssl_crl_dir: Option<String>,
    pub ssl_cert: Option<String>,
    pub ssl_key: Option<String>,
    /// The password of the key's file.
    pub ssl_password: Option<String>,
    pub ssl_sni: bool,
    pub ssl_min_protocol: Option<TlsVersion>,
    pub ssl_max_protocol: Option<TlsVersion>,
    pub channel_binding: Option<String>,
    pub require_auth: Option<AllowedAuthentication>,
    pub target_session_attrs: Option<String>,
    pub application_name: Option<String>,
    pub options: Option<String>,
    /// Seconds for each host; 0 waits as long as the operating system does.
    pub connect_timeout: Option<u32>,
    pub keepalives: bool,
    /// Seconds.
    pub keepalives_idle: Option<u32>,
    /// Seconds.
    pub keepalives_interval: Option<u32>,
    pub keepalives_count: Option<u32>,
    /// Milliseconds.
    pub tcp_user_timeout: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name that a certificate must be for.
    pub name: String,
    /// The address to connect to instead of looking the name up.
    pub address: Option<String>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

/// An error in a connection string. Its text never quotes a value, because the value may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnInfoError {
    Syntax(&'static str),
    /// An unknown parameter. Its name may be a piece of a password, and is not kept; the parameter that was probably
    /// meant is.
    UnknownParameter {
        meant: Option<&'static str>,
    },
    /// Known to libpq, but without meaning or support here.
    UnsupportedParameter(String),
    InvalidValue(String),
    /// Parameters that contradict each other.
    Conflict(&'static str),
    /// Several hosts with another number of ports.
    PortCount {
        hosts: usize,
        ports: usize,
    },
}

impl fmt::Display for ConnInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) | Self::Conflict(what) => write!(f, "{what}"),
            Self::UnknownParameter { .. } => write!(f, "unknown connection parameter"),
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

/// The most bytes of a connection string: parsed, it has many times the size, and parsing cannot be interrupted.
const MOST_BYTES: usize = 1 << 16;

/// A parameter's name and value, as written.
type Parameters = Vec<(String, String)>;

impl ConnInfo {
    /// Returns whether the text is meant as a connection string; if not, it may be the name of a foreign server.
    pub fn looks_like(text: &str) -> bool {
        uri::scheme_length(text).is_some() || text.contains('=')
    }

    /// # Errors
    /// [`ConnInfoError`] for a string that libpq would not take, or a parameter that is not supported here.
    pub fn parse(text: &str) -> Result<Self, ConnInfoError> {
        if text.len() > MOST_BYTES {
            return Err(ConnInfoError::Syntax("the connection string is too long"));
        }
        let parameters = match uri::scheme_length(text) {
            Some(length) => uri::parse(&text[length..])?,
            None => keyvalue::parse(text)?,
        };
        Self::from_parameters(parameters)
    }

    /// Reads the options of a foreign server and of its user mapping.
    ///
    /// # Errors
    /// The errors of [`ConnInfo::parse`].
    pub fn from_parameters(parameters: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConnInfoError> {
        let mut info = Self { keepalives: true, ssl_sni: true, ..Self::default() };
        let (mut hosts, mut addresses, mut ports, mut ssl_mode) = (None, None, None, None);
        let mut fallback_name = None;
        let mut follows_password = false;
        for (name, value) in parameters {
            let invalid = || ConnInfoError::InvalidValue(name.clone());
            let follows = std::mem::replace(&mut follows_password, name.ends_with("password"));
            if !is_known(&name) {
                return Err(unknown(&name, follows));
            }
            // libpq treats an empty value as the parameter's default.
            if value.is_empty() {
                continue;
            }
            if matches!(name.as_str(), "host" | "hostaddr" | "user" | "dbname" | "application_name")
                && holds_another_parameter(&value)
            {
                return Err(ConnInfoError::Syntax("the parameters of a connection string are separated by spaces"));
            }
            match name.as_str() {
                "host" => hosts = Some(value),
                "hostaddr" => addresses = Some(value),
                "port" => ports = Some(value),
                "user" => info.user = Some(value),
                "password" => info.password = Some(value),
                "dbname" => info.database = Some(value),
                "sslmode" => ssl_mode = Some(parse_ssl_mode(&value).ok_or_else(invalid)?),
                "sslrootcert" => info.ssl_root_cert = Some(value),
                "sslcrl" => info.ssl_crl = Some(value),
                "sslcrldir" => info.ssl_crl_dir = Some(value),
                "sslcert" => info.ssl_cert = Some(value),
                "sslkey" => info.ssl_key = Some(value),
                "sslpassword" => info.ssl_password = Some(value),
                "sslsni" => info.ssl_sni = switch(&value).ok_or_else(invalid)?,
                "ssl_min_protocol_version" => info.ssl_min_protocol = Some(tls_version(&value).ok_or_else(invalid)?),
                "ssl_max_protocol_version" => info.ssl_max_protocol = Some(tls_version(&value).ok_or_else(invalid)?),
                "channel_binding" => {
                    info.channel_binding =
                        Some(one_of(value, valid_values("channel_binding").unwrap_or_default()).ok_or_else(invalid)?)
                }
                "require_auth" => {
                    info.require_auth = Some(AllowedAuthentication::parse(&value).ok_or_else(invalid)?);
                }
                "target_session_attrs" => {
                    let known = valid_values("target_session_attrs").unwrap_or_default();
                    info.target_session_attrs = Some(one_of(value, known).ok_or_else(invalid)?);
                }
                "application_name" => info.application_name = Some(value),
                "fallback_application_name" => fallback_name = Some(value),
                "options" => info.options = Some(value),
                "connect_timeout" => {
                    let seconds: i64 = value.trim().parse().map_err(|_| invalid())?;
                    // As in libpq, zero and below wait for ever, and one second is taken for two.
                    info.connect_timeout = Some(match u32::try_from(seconds) {
                        Ok(seconds @ 1..) => seconds.max(2),
                        Ok(0) => 0,
                        Err(_) if seconds < 0 => 0,
                        Err(_) => u32::MAX,
                    });
                }
                "keepalives" => info.keepalives = value.trim() != "0",
                "keepalives_idle" => info.keepalives_idle = number(&value).ok_or_else(invalid)?,
                "keepalives_interval" => info.keepalives_interval = number(&value).ok_or_else(invalid)?,
                "keepalives_count" => info.keepalives_count = number(&value).ok_or_else(invalid)?,
                "tcp_user_timeout" => info.tcp_user_timeout = number(&value).ok_or_else(invalid)?,
                name if parameters::is_without_effect(name, &value) => {}
                _ => return Err(ConnInfoError::UnsupportedParameter(name)),
            }
        }
        info.application_name = info.application_name.or(fallback_name);
        info.hosts = pair_hosts(hosts, addresses, ports)?;
        if info.ssl_min_protocol.zip(info.ssl_max_protocol).is_some_and(|(least, most)| least > most) {
            return Err(ConnInfoError::Conflict("ssl_min_protocol_version is above ssl_max_protocol_version"));
        }
        let trusts_system = info.ssl_root_cert.as_deref() == Some("system");
        info.ssl_mode = match ssl_mode {
            // Anybody can get a certificate from an authority that the system trusts: only the name identifies the
            // server.
            Some(mode) if trusts_system && mode != SslMode::VerifyFull => {
                return Err(ConnInfoError::Conflict("sslrootcert=system needs sslmode=verify-full"));
            }
            None if trusts_system => SslMode::VerifyFull,
            mode => mode.unwrap_or_default(),
        };
        Ok(info)
    }

    /// Returns the set parameters that name files.
    pub fn files(&self) -> Vec<&'static str> {
        let root = self.ssl_root_cert.as_deref().filter(|&file| file != "system");
        let files = [
            ("sslrootcert", root),
            ("sslcrl", self.ssl_crl.as_deref()),
            ("sslcrldir", self.ssl_crl_dir.as_deref()),
            ("sslcert", self.ssl_cert.as_deref()),
            ("sslkey", self.ssl_key.as_deref()),
        ];
        files.into_iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name).collect()
    }
}

/// The name is never quoted: it may be a piece of a password.
fn unknown(name: &str, follows_password: bool) -> ConnInfoError {
    if follows_password {
        return ConnInfoError::Syntax(
            "unknown connection parameter after the password; a password with spaces must be in single quotes",
        );
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return ConnInfoError::Syntax("what precedes \"=\" in the connection string is not the name of a parameter");
    }
    ConnInfoError::UnknownParameter { meant: closest(name) }
}

/// Whether the value is followed by a further parameter behind what is no separator here, but elsewhere; a password may be
/// among those.
fn holds_another_parameter(value: &str) -> bool {
    let begins_parameter = |text: &str| {
        let name = text.split('=').next().filter(|name| name.len() < text.len());
        name.is_some_and(|name| is_known(name.trim().to_ascii_lowercase().as_str()))
    };
    value.split([';', '&', ',', '|']).skip(1).any(begins_parameter)
}

/// Returns whether the text may be the name or the address of a host; anything else may be a piece of a password.
fn is_host(text: &str) -> bool {
    text.starts_with('/') || text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%'))
}

/// Zero and below mean the operating system's default.
fn number(value: &str) -> Option<Option<u32>> {
    let number: i64 = value.trim().parse().ok()?;
    if number > i32::MAX.into() {
        return None;
    }
    Some(u32::try_from(number).ok().filter(|&number| number > 0))
}

/// All values that a parameter takes, where these are few words.
pub fn valid_values(parameter: &str) -> Option<&'static [&'static str]> {
    Some(match parameter {
        "sslmode" => &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        "channel_binding" => &["disable", "prefer", "require"],
        "target_session_attrs" => &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"],
        "ssl_min_protocol_version" | "ssl_max_protocol_version" => &["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
        "sslsni" => &["0", "1"],
        _ => return None,
    })
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn tls_version(value: &str) -> Option<TlsVersion> {
    let known = [
        ("TLSv1", TlsVersion::V1_0),
        ("TLSv1.1", TlsVersion::V1_1),
        ("TLSv1.2", TlsVersion::V1_2),
        ("TLSv1.3", TlsVersion::V1_3),
    ];
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map(|(_, version)| version)
}

fn parse_ssl_mode(value: &str) -> Option<SslMode> {
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
    let list = |text: Option<String>| -> Option<Vec<String>> {
        text.map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
    };
    let (names, addresses) = (list(hosts), list(addresses));
    for (parameter, list) in [("host", &names), ("hostaddr", &addresses)] {
        if !list.iter().flatten().all(|text| is_host(text)) {
            return Err(ConnInfoError::InvalidValue(parameter.into()));
        }
    }
    let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
    if names.as_ref().is_some_and(|names| names.len() != count) {
        return Err(ConnInfoError::Conflict("hostaddr and host differ in their number of hosts"));
    }
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
    if ports.len() > 1 && ports.len() != count {
        return Err(ConnInfoError::PortCount { hosts: count, ports: ports.len() });
    }
    let at = |list: &Option<Vec<String>>, position: usize| {
        list.as_ref().and_then(|list| list.get(position)).filter(|text| !text.is_empty()).cloned()
    };
    Ok((0..count)
        .map(|position| {
            let address = at(&addresses, position);
            Host {
                name: at(&names, position).or(address.clone()).unwrap_or_else(|| "localhost".into()),
                address,
                port: ports.get(position).or(ports.first()).copied().unwrap_or(5432),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.into(), address: None, port }
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
        assert_eq!(error("hots=x"), ConnInfoError::UnknownParameter { meant: Some("host") });
        assert_eq!(error("database=x"), ConnInfoError::UnknownParameter { meant: None });
        assert_eq!(
            error("host=a,b hostaddr=1.2.3.4"),
            ConnInfoError::Conflict("hostaddr and host differ in their number of hosts")
        );
        assert_eq!(error("service=x"), ConnInfoError::UnsupportedParameter("service".into()));
        assert_eq!(error("port=x"), ConnInfoError::InvalidValue("port".into()));
        assert_eq!(error("sslmode=maybe"), ConnInfoError::InvalidValue("sslmode".into()));
        assert_eq!(error("host=a,b,c port=1,2"), ConnInfoError::PortCount { hosts: 3, ports: 2 });
        assert_eq!(error("postgres://a/b?c"), ConnInfoError::Syntax("missing \"=\" in the query of the URI"));
        assert_eq!(error("postgres://a%zz/b"), ConnInfoError::Syntax("invalid percent-encoding in the URI"));
        assert_eq!(error("password='x"), ConnInfoError::Syntax("unterminated quoted value in the connection string"));
    }

    #[test]
    fn every_parameter_that_libpq_has_is_taken_or_refused_by_name() {
        for name in parameters_of(Place::Server).chain(parameters_of(Place::UserMapping)) {
            let value = match name {
                "sslmode" => "verify-full",
                "channel_binding" => "require",
                "require_auth" => "scram-sha-256",
                "target_session_attrs" => "primary",
                "ssl_min_protocol_version" | "ssl_max_protocol_version" => "TLSv1.3",
                "hostaddr" => "127.0.0.1",
                "keepalives" | "sslsni" => "0",
                _ => "1",
            };
            let info = ConnInfo::parse(&format!("{name}={value}")).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_ne!(info, ConnInfo::parse("").unwrap(), "{name}={value} has an effect");
        }
        for (text, name) in [
            ("gssencmode=require", "gssencmode"),
            ("sslnegotiation=direct", "sslnegotiation"),
            ("load_balance_hosts=random", "load_balance_hosts"),
            ("passfile=/x", "passfile"),
            ("requirepeer=x", "requirepeer"),
            ("replication=database", "replication"),
        ] {
            assert_eq!(ConnInfo::parse(text), Err(ConnInfoError::UnsupportedParameter(name.into())));
        }
        assert!(ConnInfo::parse("gssencmode=disable client_encoding=utf8 sslcompression=0").is_ok());
    }

    #[test]
    fn addresses_stand_beside_names() {
        let info = ConnInfo::parse("host=db1,db2 hostaddr=10.0.0.1,10.0.0.2 port=6000").unwrap();
        let host = |name: &str, address: &str| Host { name: name.into(), address: Some(address.into()), port: 6000 };
        assert_eq!(info.hosts, [host("db1", "10.0.0.1"), host("db2", "10.0.0.2")]);
        assert_eq!(ConnInfo::parse("hostaddr=::1 port=6000").unwrap().hosts, [host("::1", "::1")]);
    }

    #[test]
    fn what_the_system_trusts_needs_a_verified_name() {
        let mode = |text| ConnInfo::parse(text).map(|info| info.ssl_mode);
        assert_eq!(mode("sslrootcert=system"), Ok(SslMode::VerifyFull));
        assert_eq!(mode("sslrootcert=system sslmode=verify-full"), Ok(SslMode::VerifyFull));
        assert!(mode("sslrootcert=system sslmode=verify-ca").is_err());
        assert_eq!(mode("sslrootcert=/x"), Ok(SslMode::Prefer));
        let conflict = mode("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2");
        assert_eq!(
            conflict,
            Err(ConnInfoError::Conflict("ssl_min_protocol_version is above ssl_max_protocol_version"))
        );
    }

    #[test]
    fn the_password_is_never_shown() {
        let info = ConnInfo::parse("postgres://app:geheim@h/shop").unwrap();
        assert_eq!(info.to_string(), "app@h:5432/shop");
        assert!(!format!("{info:?}").contains("geheim"));
        for text in [
            "password=geheim port=x",
            "postgres://app:geheim@h:geheim/shop",
            "password=geheim gehe",
            "password=sehr geheim=x",
            "postgres:/app:geheim=@h/shop",
            "postgres://app:geheim/x@h/shop",
            "postgres://app:1/geheim@h/shop",
            "postgres://app:1?geheim@h/shop",
            "postgres://app:1?2geheim=3@h/shop",
            "user=app;password=geheim;dbname=geheim port=geheim",
            // What libpq would take for a host, a database, a port or a parameter.
            "postgres://app:geh@geheim@h/shop",
            "postgres://app:geh@geheim@h:5432,h2/shop?sslmode=require",
            "postgres://app@geheim@h/shop",
            "postgres://app:geh@geheim/x@h/shop",
            "postgres://app:geh@h:geheim",
            "postgres://app:geh@[geheim",
            "postgres://app:geh@[::1]geheim",
            "postgres://app:geh%geheim@h/shop",
            "postgres://app:geheim%@h/shop",
            "postgres://app:geheim%00@h/shop",
            "postgres://app:geheim%ff@h/shop",
            "postgres://app:geh?geheim=x@h/shop",
            "postgres://app:geh?user=geheim@h/shop",
            "postgres://h/shop?user=app&geheim=1",
            "postgres://h/shop?user=app&password=ge&geheim=1",
            "postgres://h/shop?user=app&password=ge&geheim",
            "postgres://h/shop?user=app&passwd=geheim",
            "postgres://app:ge heim@h ge/geheim geheim",
            "postgres://app:ge'@h'geheim'/shop",
            "host=h password='geheim",
            "host=h password=geheim\\",
            "host=h password='it's geheim",
            "host=h password='it's geheim=x",
            "host=h password='it'geheim=x",
            "host=h password=`geh geheim`",
            "host=h password=\"geh geheim\" dbname=x",
            "password=\"geh host=geheim\" dbname=x",
            "host=h passwordgeheim=x",
            "host=h geheim= dbname=x",
            "host=h password geheim dbname=x",
            "host=h password geheim=x",
            "host=h; password=geheim",
            "host=h,password=geheim",
            "host=h;Password=geheim;Database=x",
            "user=app&password=geheim&host=h",
            "dbname=shop;user=app;password=geheim",
            "host=geh@geheim",
            "jdbc:postgresql://h/shop?user=app&password=geheim",
            "postgresql:app:geheim@h/shop?x=y",
        ] {
            let shown = match ConnInfo::parse(text) {
                Ok(info) => [info.to_string(), format!("{info:?}")],
                Err(error) => [error.to_string(), format!("{error:?}")],
            };
            for shown in shown {
                assert!(!shown.contains("geh") && !shown.contains("heim"), "{text}: {shown}");
            }
        }
        let error = ConnInfo::parse("postgres://app:S3CR@ET@host").unwrap_err().to_string();
        assert!(error.contains("percent-encode @, : and / in the password"), "{error}");
    }
}
