//! The source that a caller names: a connection string or a foreign server.

use crate::error::{Error, Result};
use crate::local::foreign_server::{self, ForeignServer, Wrapper};
use crate::local::identity::{self, Caller, role_name};
use crate::local::logging::{self, HiddenStatement};
use crate::local::{parameters, rights, script_objects, settings};
use conninfo::{ConnInfo, ConnInfoError, Place};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Tells whether the caller may use files and credentials of the server's operating-system user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The caller is a superuser, or a superuser has vouched for the caller.
    Full,
    /// The caller must give a password that the source really asks for: the rule of dblink and postgres_fdw.
    PasswordRequired,
}

/// A source and the way to it. It holds the password, which `Display` does not show.
#[derive(Clone, Serialize, Deserialize)]
pub struct Origin {
    pub(super) info: ConnInfo,
    pub(super) trust: Trust,
    /// How long attempts to connect are repeated that fail for a passing reason.
    pub(super) patience: Duration,
    server: Option<Box<UsedServer>>,
    /// Whether a superuser vouches for what the source sends, as an option of the foreign server.
    is_trusted: bool,
    /// The key of masks, as the source's session gets it.
    pub(super) mask_key: Option<String>,
}

/// The foreign server that a caller has named.
#[derive(Clone, Serialize, Deserialize)]
struct UsedServer {
    name: String,
    /// The user mapping, as a statement names it.
    mapping: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.server {
            Some(server) => format!("{} ({})", server.name, self.info),
            None => self.info.to_string(),
        };
        f.write_str(&plan::one_line(&text))
    }
}

impl Origin {
    /// Returns whether a superuser has declared the source trusted, as an option of the foreign server.
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// The role at the source.
    pub fn user(&self) -> &str {
        self.info.user.as_deref().unwrap_or_default()
    }

    /// Gives sessions the key of masks: a hash of what the caller gave, so that it has the length that the hash of masks wants.
    pub fn set_mask_key(&mut self, key: &str) {
        let hash = openssl::sha::sha256(format!("pgcopy mask key:{key}").as_bytes());
        self.mask_key = Some(hash.iter().map(|byte| format!("{byte:02x}")).collect());
    }

    /// # Errors
    /// The string cannot be understood, or the caller may not use it. No connection is made.
    pub fn resolve(source: &str) -> Result<Self> {
        let caller = Caller::of_this_session();
        // A string that cannot be understood may hold a password as well.
        let hidden = logging::hide_statement(source);
        let mut origin = if ConnInfo::looks_like(source) {
            Self::from_string(source, caller, hidden)?
        } else {
            Self::from_server(source, caller, hidden)?
        };
        if origin.trust == Trust::PasswordRequired && origin.info.password.is_none() {
            let error =
                Error::new(PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED, "password is required")
                    .detail("Non-superusers must provide a password in the connection string or the user mapping.");
            return Err(match origin.to_set_password("ADD") {
                Some(statement) => error.hint(statement),
                None => error,
            });
        }
        origin.info.user.get_or_insert_with(|| role_name(caller.current));
        Ok(origin)
    }

    /// The way to this database over a socket of this server, as the caller.
    pub fn of_this_server() -> Result<Self> {
        let setting = |name| settings::value(name).unwrap_or_default();
        let sockets = setting(c"unix_socket_directories");
        let mut directories = sockets.split(',').map(|text| text.trim().trim_matches('"'));
        // Those that begin with @ are no directories.
        let host = match directories.find(|text| !text.is_empty() && !text.starts_with('@')) {
            // The server is in its data directory.
            Some(directory) => Path::new(&setting(c"data_directory")).join(directory).display().to_string(),
            None => "localhost".to_owned(),
        };
        let database = script_objects::current_database()?;
        Self::resolve(&connection_string(&host, &setting(c"port"), &database, &identity::current_role_name()))
    }

    /// The way to a database of a server that listens on a socket in this directory.
    pub fn of_socket(directory: &Path, database: &str, user: &str) -> Result<Self> {
        Self::resolve(&connection_string(&directory.display().to_string(), "5432", database, user))
    }

    /// Gives sessions settings that those of the role and the database do not override.
    pub fn set_options(&mut self, options: &str) {
        self.info.options = Some(options.to_owned());
    }

    /// The statement that sets the password in the user mapping, where there is one, by this word of its syntax.
    pub(super) fn to_set_password(&self, word: &str) -> Option<String> {
        let mapping = self.server.as_ref()?.mapping.as_ref()?;
        Some(format!("ALTER {mapping} OPTIONS ({word} password '…');"))
    }

    /// The connection for a program that uses libpq of this major version: a connection string without the password, and the
    /// password.
    ///
    /// # Errors
    /// Where that program could reach more than this caller may, or another server.
    pub fn for_program(&self, major: u32) -> Result<(String, Option<String>)> {
        // Where backslashes escape, pg_dump doubles them: its statements would then mean something else here.
        const PLAIN_BACKSLASHES: &str = "-c standard_conforming_strings=on";
        let mut info = self.info.clone();
        info.options = Some(match &self.info.options {
            Some(options) => format!("{options} {PLAIN_BACKSLASHES}"),
            None => PLAIN_BACKSLASHES.to_owned(),
        });
        let text = info.for_libpq(major, self.trust == Trust::PasswordRequired).map_err(|reason| {
            Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("pg_dump cannot be told this connection: {reason}"),
            )
        })?;
        Ok((text, self.info.password.clone()))
    }

    fn from_string(text: &str, caller: Caller, statement: HiddenStatement) -> Result<Self> {
        let info = ConnInfo::parse(text).map_err(|error| {
            let hint = match &error {
                ConnInfoError::UnknownParameter { meant: Some(meant) } => format!("Perhaps you meant \"{meant}\"."),
                ConnInfoError::UnknownParameter { meant: None } => {
                    let names = [Place::Server, Place::UserMapping].into_iter().flat_map(conninfo::parameters_of);
                    format!("The parameters are: {}.", names.collect::<Vec<_>>().join(", "))
                }
                ConnInfoError::InvalidValue(name) if conninfo::valid_values(name).is_some() => hint_at_values(name),
                ConnInfoError::UnsupportedParameter(_) => {
                    "Leave it out; the documentation lists the parameters that are supported.".to_owned()
                }
                _ => "Write a URI such as postgres://user:password@host/database, a list such as host=… dbname=… user=…, or the name of a foreign server.".to_owned(),
            };
            Error::new(sqlstate_of(&error), format!("invalid connection string: {error}")).hint(hint)
        })?;
        if info.password.is_none() && info.ssl_password.is_none() {
            statement.show();
        }
        let trust = if caller.is_superuser() { Trust::Full } else { Trust::PasswordRequired };
        if trust == Trust::PasswordRequired {
            if parameters::only_foreign_servers()? {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    "permission denied to use a connection string",
                )
                .detail("pgcopy.only_foreign_servers is on: only superusers may name a source by a connection string.")
                .hint("Name a foreign server that you have USAGE on."));
            }
            refuse_files(&info)?;
        }
        Ok(Self { info, trust, patience: parameters::retry_timeout(), server: None, is_trusted: false, mask_key: None })
    }

    fn from_server(name: &str, caller: Caller, statement: HiddenStatement) -> Result<Self> {
        // A text that does not look like a name may be a mistyped connection string, whose password must not be shown.
        // A text with spaces may be either.
        let consists_of = |others: &str| name.chars().all(|c| c.is_alphanumeric() || others.contains(c));
        let is_plain = name.len() <= LONGEST_NAME && consists_of("_-.$");
        let may_be_name = name.len() <= LONGEST_NAME && consists_of("_-.$ ");
        let server = if may_be_name { foreign_server::find(name, caller.current)? } else { None };
        if is_plain || server.is_some() {
            statement.show();
        }
        let Some(server) = server else {
            let message = if is_plain && !name.is_empty() {
                format!("server \"{name}\" does not exist")
            } else {
                "the source is neither a connection string nor the name of a foreign server".to_owned()
            };
            return Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message).hint(
                "Give a URI such as postgres://user:password@host/database, a list such as host=… dbname=…, or the name of a server made with CREATE SERVER … FOREIGN DATA WRAPPER pgcopy.",
            ));
        };
        refuse_unusable(&server, caller)?;
        let Some(mapping) = &server.mapping else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("user mapping not found for \"{}\", server \"{name}\"", role_name(caller.current)),
            )
            .hint(format!(
                "CREATE USER MAPPING FOR {} SERVER {} OPTIONS (user '…', password '…');",
                plan::quote_identifier(&role_name(caller.current)),
                plan::quote_identifier(name)
            )));
        };
        // Options of these wrappers that have nothing to do with connections are passed over.
        let options = server.options.iter().chain(mapping).filter(|(name, _)| conninfo::is_known(name)).cloned();
        let info = ConnInfo::from_parameters(options).map_err(|error| {
            Error::new(sqlstate_of(&error), format!("the options of server \"{name}\" cannot be used: {error}"))
        })?;
        let is_trusted = server.is_trusted();
        let vouched = mapping.iter().any(|(name, value)| name == "password_required" && value == "false");
        let trust = if caller.is_superuser() || vouched { Trust::Full } else { Trust::PasswordRequired };
        let mapping = server
            .mapped_as
            .as_ref()
            .map(|role| format!("USER MAPPING FOR {role} SERVER {}", plan::quote_identifier(name)));
        let used = UsedServer { name: name.to_owned(), mapping };
        Ok(Self {
            info,
            trust,
            patience: parameters::retry_timeout(),
            server: Some(Box::new(used)),
            is_trusted,
            mask_key: None,
        })
    }
}

fn connection_string(host: &str, port: &str, database: &str, user: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!("host={} port={port} dbname={} user={}", quoted(host), quoted(database), quoted(user))
}

/// No object has a name that is longer than the server keeps.
const LONGEST_NAME: usize = 63;

/// Lists the values that a parameter takes.
pub(super) fn hint_at_values(parameter: &str) -> String {
    format!("Valid values are: {}.", conninfo::valid_values(parameter).unwrap_or_default().join(", "))
}

fn sqlstate_of(error: &ConnInfoError) -> PgSqlErrorCode {
    match error {
        ConnInfoError::UnsupportedParameter(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        _ => PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
    }
}

/// Refuses names of files in a string from a caller who cannot read them anyway. Keys are refused in any case: the
/// operating-system user is known by them elsewhere.
fn refuse_files(info: &ConnInfo) -> Result<()> {
    let may_read = rights::may_read_server_files();
    for parameter in info.files() {
        let is_identity = matches!(parameter, "sslcert" | "sslkey");
        if is_identity || !may_read {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied to use connection parameter \"{parameter}\""),
            )
            .detail(if is_identity {
                "Only superusers may name client certificates and keys of the server in a connection string."
            } else {
                "Only superusers and members of pg_read_server_files may name files of the server in a connection string."
            })
            .hint("A superuser can set it in a foreign server or a user mapping."));
        }
    }
    Ok(())
}

fn refuse_unusable(server: &ForeignServer, caller: Caller) -> Result<()> {
    server.refuse_without_usage(caller.current)?;
    let Some(wrapper) = server.wrapper() else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("server \"{}\" is not a PostgreSQL server", server.name),
        )
        .detail(format!("It belongs to foreign-data wrapper \"{}\".", server.wrapper_name))
        .hint("Servers of the wrappers pgcopy, postgres_fdw and dblink_fdw can be pulled from."));
    };
    // The other wrappers let only superusers set these.
    let names_key = server.options.iter().any(|(name, _)| name == "sslcert" || name == "sslkey");
    if wrapper == Wrapper::Dblink && names_key && !caller.is_superuser() && !server.owner_is_superuser {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to use the client certificate of server \"{}\"", server.name),
        )
        .detail("A superuser must own a server whose options name a client certificate or key."));
    }
    Ok(())
}
