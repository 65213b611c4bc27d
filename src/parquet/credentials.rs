//! The options of a foreign server and of a user mapping, with which an object store is reached.

use crate::error::{Error, Result};
use crate::local::foreign_server;
use crate::local::identity::Caller;
use datafiles::location::{Kind, is_account, parse_endpoint};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The foreign-data wrapper whose servers are object stores.
pub const WRAPPER: &str = "pgcopy_store";

const SERVER_OPTIONS: [&str; 7] =
    ["type", "endpoint", "region", "account", "virtual_hosted", "allow_http", "ca_certificate"];

/// The options of a user mapping, and the kinds of stores that they apply to.
const MAPPING_OPTIONS: [(&str, &[Kind]); 9] = [
    ("access_key_id", &[Kind::S3]),
    ("secret_access_key", &[Kind::S3]),
    ("session_token", &[Kind::S3]),
    ("service_account_key", &[Kind::Gcs]),
    ("account_key", &[Kind::Azure]),
    ("sas_token", &[Kind::Azure]),
    ("bearer_token", &[Kind::Gcs, Kind::Azure, Kind::Http]),
    ("user", &[Kind::Http]),
    ("password", &[Kind::Http]),
];

/// A server with the caller's credentials. Holds secrets, so that it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    pub server: String,
    pub kind: Option<Kind>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub account: Option<String>,
    pub virtual_hosted: bool,
    pub ca_certificate: Option<String>,
    secrets: BTreeMap<String, String>,
}

impl Access {
    /// Looks up a server that the caller may use, with the caller's credentials.
    pub fn look_up(name: &str) -> Result<Self> {
        let caller = Caller::of_this_session().current;
        let Some(server) = foreign_server::find(name, caller)? else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("server \"{name}\" does not exist"),
            ));
        };
        server.refuse_without_usage(caller)?;
        if server.wrapper_name != WRAPPER {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("server \"{name}\" is not an object store"),
            )
            .detail(format!("Its foreign-data wrapper is \"{}\".", server.wrapper_name))
            .hint(format!("Create it with CREATE SERVER … FOREIGN DATA WRAPPER {WRAPPER}.")));
        }
        let options = BTreeMap::from_iter(server.options);
        let option = |name: &str| options.get(name).cloned();
        // Options that were never validated are possible: a superuser can write to catalogs.
        check_server(&options)?;
        let secrets = BTreeMap::from_iter(server.mapping.unwrap_or_default());
        check_mapping(&secrets)?;
        Ok(Self {
            server: name.into(),
            kind: option("type").as_deref().and_then(Kind::parse),
            endpoint: option("endpoint"),
            region: option("region"),
            account: option("account"),
            virtual_hosted: is_on(&options, "virtual_hosted")?,
            ca_certificate: option("ca_certificate"),
            secrets,
        })
    }

    /// Refuses credentials of another kind of store, which would silently not be used.
    pub fn check_kind(&self, kind: Kind) -> Result<()> {
        for (name, kinds) in MAPPING_OPTIONS {
            if self.secrets.contains_key(name) && !kinds.contains(&kind) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                    format!("user mapping option \"{name}\" does not apply to URLs of type \"{}\"", kind.name()),
                )
                .detail(format!("The user mapping is that of server \"{}\".", self.server)));
            }
        }
        Ok(())
    }

    /// Returns a secret of the user mapping.
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).map(String::as_str)
    }

    pub fn has_credentials(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Returns the texts that must not be shown.
    pub fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().filter(|(name, _)| *name != "user").map(|(_, value)| value.as_str()).collect()
    }
}

/// The kind of object that options are given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Server,
    UserMapping,
    /// A wrapper, or a table: neither has options.
    Elsewhere,
}

/// Refuses options that are unknown, in the wrong place, or contradict each other. `options` is the complete list, each as `name=value`.
pub fn validate(options: &[Option<String>], place: Place) -> Result<()> {
    let options: BTreeMap<String, String> = options
        .iter()
        .flatten()
        .filter_map(|option| option.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match place {
        Place::Server => check_server(&options),
        Place::UserMapping => check_mapping(&options),
        Place::Elsewhere => match options.keys().next() {
            Some(name) => Err(invalid_name(name).hint("There are no valid options in this context.")),
            None => Ok(()),
        },
    }
}

fn check_server(options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        if MAPPING_OPTIONS.iter().any(|(secret, _)| secret == name) {
            return Err(invalid_name(name)
                .detail("Everybody can read the options of a server.")
                .hint("Give it as an option of the user mapping."));
        }
        if !SERVER_OPTIONS.contains(&name.as_str()) {
            return Err(
                invalid_name(name).hint(format!("Valid options in this context are: {}", SERVER_OPTIONS.join(", ")))
            );
        }
        let is_valid = match name.as_str() {
            "type" => Kind::parse(value).is_some(),
            "account" => is_account(value),
            "region" => !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "ca_certificate" => !parse_certificates(value).is_empty(),
            _ => true,
        };
        if !is_valid {
            let error = invalid_value(name);
            return Err(match name.as_str() {
                "type" => error.hint(format!("Valid types are: {}", Kind::ALL.map(Kind::name).join(", "))),
                "ca_certificate" => error.hint("Give the certificates themselves, in PEM form, and not a file's name."),
                _ => error,
            });
        }
    }
    let allow_http = is_on(options, "allow_http")?;
    is_on(options, "virtual_hosted")?;
    if let Some(endpoint) = options.get("endpoint") {
        let url = parse_endpoint(endpoint).map_err(|error| invalid_value("endpoint").hint(error.hint.unwrap_or("")))?;
        if url.scheme() == "http" && !allow_http {
            return Err(invalid_value("endpoint")
                .detail("Over http:// credentials and data travel unencrypted.")
                .hint("Use https://, or add the option allow_http 'true'."));
        }
    } else if options.get("type").map(String::as_str) == Some("http") {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
            "option \"endpoint\" is required for a server of type \"http\"",
        )
        .detail("A user of the foreign server could otherwise make this server fetch any URL."));
    }
    Ok(())
}

fn check_mapping(options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        if SERVER_OPTIONS.contains(&name.as_str()) {
            return Err(invalid_name(name).hint("Give it as an option of the server."));
        }
        if !MAPPING_OPTIONS.iter().any(|(valid, _)| valid == name) {
            let names = MAPPING_OPTIONS.map(|(name, _)| name).join(", ");
            return Err(invalid_name(name).hint(format!("Valid options in this context are: {names}")));
        }
        if value.is_empty() || name != "service_account_key" && value.chars().any(|c| c.is_control()) {
            return Err(invalid_value(name));
        }
    }
    for (name, needed) in [
        ("access_key_id", "secret_access_key"),
        ("secret_access_key", "access_key_id"),
        ("session_token", "access_key_id"),
        ("user", "password"),
        ("password", "user"),
    ] {
        if options.contains_key(name) && !options.contains_key(needed) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
                format!("option \"{name}\" needs option \"{needed}\""),
            ));
        }
    }
    for (name, other) in [
        ("account_key", "sas_token"),
        ("account_key", "bearer_token"),
        ("sas_token", "bearer_token"),
        ("service_account_key", "bearer_token"),
        ("user", "bearer_token"),
    ] {
        if options.contains_key(name) && options.contains_key(other) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                format!("options \"{name}\" and \"{other}\" exclude each other"),
            ));
        }
    }
    match options.get("service_account_key") {
        Some(key) => check_service_account(key),
        None => Ok(()),
    }
}

/// Checks a service account key, the JSON that Google's console hands out.
fn check_service_account(key: &str) -> Result<()> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(key) else {
        return Err(invalid_value("service_account_key").hint("Give the JSON text of the key, and not a file's name."));
    };
    for field in ["client_email", "private_key", "private_key_id"] {
        if !fields.get(field).is_some_and(serde_json::Value::is_string) {
            return Err(invalid_value("service_account_key").detail(format!("The JSON lacks the text \"{field}\".")));
        }
    }
    // The client library takes an address and a way around authentication from the key; where a server's requests
    // go is for its owner to say.
    for field in ["gcs_base_url", "disable_oauth"] {
        if fields.contains_key(field) {
            return Err(
                invalid_value("service_account_key").detail(format!("The field \"{field}\" is not allowed in it."))
            );
        }
    }
    Ok(())
}

/// Reads a boolean as the server does in options; false when it is missing.
fn is_on(options: &BTreeMap<String, String>, name: &str) -> Result<bool> {
    match options.get(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "off" | "no" | "0") => Ok(false),
        Some("true" | "on" | "yes" | "1") => Ok(true),
        Some(_) => Err(invalid_value(name).hint("It is a Boolean value.")),
    }
}

pub fn parse_certificates(pem: &str) -> Vec<reqwest::Certificate> {
    reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default()
}

fn invalid_name(name: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME, format!("invalid option \"{name}\""))
}

/// Returns the error of a wrong option. Its value is not repeated: it may be a secret in the wrong place.
fn invalid_value(name: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE, format!("invalid value for option \"{name}\""))
}
