//! The parameters that libpq knows, and which of them are supported here.

/// The part of a foreign server's definition that a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Server,
    UserMapping,
}

const SUPPORTED: &[(&str, Place)] = &[
    ("host", Place::Server),
    ("hostaddr", Place::Server),
    ("port", Place::Server),
    ("dbname", Place::Server),
    ("sslmode", Place::Server),
    ("sslrootcert", Place::Server),
    ("sslcrl", Place::Server),
    ("sslcrldir", Place::Server),
    ("sslsni", Place::Server),
    ("ssl_min_protocol_version", Place::Server),
    ("ssl_max_protocol_version", Place::Server),
    ("channel_binding", Place::Server),
    ("require_auth", Place::Server),
    ("target_session_attrs", Place::Server),
    ("application_name", Place::Server),
    ("options", Place::Server),
    ("connect_timeout", Place::Server),
    ("keepalives", Place::Server),
    ("keepalives_idle", Place::Server),
    ("keepalives_interval", Place::Server),
    ("keepalives_count", Place::Server),
    ("tcp_user_timeout", Place::Server),
    ("user", Place::UserMapping),
    ("password", Place::UserMapping),
    ("sslcert", Place::UserMapping),
    ("sslkey", Place::UserMapping),
    ("sslpassword", Place::UserMapping),
];

/// Parameters that are accepted in strings written for other clients, with values that have no effect.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    // The session's encoding is always the destination's.
    ("client_encoding", &[]),
    ("gssencmode", &["disable", "prefer"]),
    ("load_balance_hosts", &["disable"]),
    ("sslcertmode", &["allow"]),
    ("sslcompression", &["0"]),
    ("sslnegotiation", &["postgres"]),
];

const LIBPQ_ONLY: &[&str] = &[
    "authtype",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "passfile",
    "replication",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslkeylogfile",
    "tty",
];

/// Returns the part that a supported parameter belongs to.
pub fn place_of(name: &str) -> Option<Place> {
    SUPPORTED.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
}

/// Returns the supported parameters of a part.
pub fn parameters_of(place: Place) -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().filter(move |(_, of)| *of == place).map(|(name, _)| *name)
}

/// Returns whether libpq knows the parameter, supported here or not.
pub fn is_known(name: &str) -> bool {
    place_of(name).is_some()
        || name == "fallback_application_name"
        || LIBPQ_ONLY.contains(&name)
        || WITHOUT_EFFECT.iter().any(|(known, _)| *known == name)
}

/// Returns whether the parameter may be ignored.
pub(crate) fn is_without_effect(name: &str, value: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|(known, values)| *known == name && (values.is_empty() || values.contains(&value)))
}

/// Returns the supported parameter that was probably meant.
pub fn closest(name: &str) -> Option<&'static str> {
    plan::nearest(name, SUPPORTED.iter().map(|(known, _)| *known), &|| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        assert_eq!(closest("hots"), Some("host"));
        assert_eq!(closest("pasword"), Some("password"));
        assert_eq!(closest("databse"), None);
        assert_eq!(closest("sslrotcert"), Some("sslrootcert"));
        assert_eq!(closest("xyz"), None);
    }
}
