//! The way back: a connection string for programs that use libpq, without secrets.

use crate::{ConnInfo, SslMode, TlsVersion};

/// A file that is not there, in the place of those that libpq looks for on its own.
const NO_FILE: &str = "/nonexistent";

/// The methods of authentication by a password.
const BY_PASSWORD: &str = "password,md5,scram-sha-256";

impl ConnInfo {
    /// The connection as libpq of this major version takes it, without the password, which goes another way. It refers to no
    /// file that is not given here. `only_by_password` forbids other ways to log in, where that version can.
    ///
    /// # Errors
    /// With what that libpq could not respect, or not be told without showing a secret.
    pub fn for_libpq(&self, major: u32, only_by_password: bool) -> Result<String, &'static str> {
        /// The first version that knows `require_auth`.
        const KNOWS_REQUIRE_AUTH: u32 = 16;
        if self.ssl_password.is_some() {
            return Err("sslpassword cannot be handed on without showing it");
        }
        let require_auth = self.require_auth.map(|allowed| allowed.list());
        if require_auth.is_some() && major < KNOWS_REQUIRE_AUTH {
            return Err("require_auth is known to programs of version 16 and newer");
        }
        let required =
            require_auth.or_else(|| (only_by_password && major >= KNOWS_REQUIRE_AUTH).then(|| BY_PASSWORD.to_owned()));
        let list =
            |of_each: &dyn Fn(&crate::Host) -> String| self.hosts.iter().map(of_each).collect::<Vec<_>>().join(",");
        let addresses = list(&|host| host.address.clone().unwrap_or_default());
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let text = |text: &Option<String>| text.clone();
        let parameters: Vec<(&str, Option<String>)> = vec![
            ("host", Some(list(&|host| host.name.clone()))),
            ("hostaddr", self.hosts.iter().any(|host| host.address.is_some()).then_some(addresses)),
            ("port", Some(list(&|host| host.port.to_string()))),
            ("user", text(&self.user)),
            ("dbname", self.database.clone().or_else(|| self.user.clone())),
            ("sslmode", Some(ssl_mode(self.ssl_mode).to_owned())),
            ("sslrootcert", text(&self.ssl_root_cert)),
            ("sslcrl", text(&self.ssl_crl)),
            ("sslcrldir", text(&self.ssl_crl_dir)),
            ("sslcert", Some(self.ssl_cert.clone().unwrap_or_else(|| NO_FILE.to_owned()))),
            ("sslkey", Some(self.ssl_key.clone().unwrap_or_else(|| NO_FILE.to_owned()))),
            ("sslsni", Some(u8::from(self.ssl_sni).to_string())),
            ("ssl_min_protocol_version", self.ssl_min_protocol.map(tls_version)),
            ("ssl_max_protocol_version", self.ssl_max_protocol.map(tls_version)),
            ("channel_binding", text(&self.channel_binding)),
            ("require_auth", required),
            ("target_session_attrs", text(&self.target_session_attrs)),
            ("options", text(&self.options)),
            ("application_name", Some(self.application_name.clone().unwrap_or_else(|| "pgcopy".to_owned()))),
            ("connect_timeout", Some(self.connect_timeout.unwrap_or(30).to_string())),
            ("keepalives", Some(u8::from(self.keepalives).to_string())),
            ("keepalives_idle", Some(self.keepalives_idle.unwrap_or(60).to_string())),
            ("keepalives_interval", Some(self.keepalives_interval.unwrap_or(10).to_string())),
            ("keepalives_count", Some(self.keepalives_count.unwrap_or(6).to_string())),
            ("tcp_user_timeout", number(self.tcp_user_timeout)),
            ("gssencmode", Some("disable".to_owned())),
        ];
        let written = parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(&value?))));
        Ok(written.collect::<Vec<_>>().join(" "))
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn ssl_mode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Allow => "allow",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

fn tls_version(version: TlsVersion) -> String {
    match version {
        TlsVersion::V1_0 => "TLSv1",
        TlsVersion::V1_1 => "TLSv1.1",
        TlsVersion::V1_2 => "TLSv1.2",
        TlsVersion::V1_3 => "TLSv1.3",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_is_the_same_connection_without_secrets() {
        let text = "host=a,/run/pg port=1,2 user='o''x' password=geheim dbname='a b\\\\' sslmode=verify-full \
                    sslrootcert=/r sslcert=/c sslkey=/k channel_binding=require options='-c a=b' keepalives=0 sslsni=0 \
                    application_name=pgcopy connect_timeout=7 keepalives_idle=1 keepalives_interval=2 keepalives_count=3 \
                    ssl_min_protocol_version=TLSv1.3 target_session_attrs=primary tcp_user_timeout=5";
        let text = text.replace("'o''x'", "'o\\'x'");
        let info = ConnInfo::parse(&text).unwrap();
        let written = info.for_libpq(15, true).unwrap();
        assert!(!written.contains("geheim"), "{written}");
        assert_eq!(ConnInfo::parse(&written).unwrap(), ConnInfo { password: None, ..info });
    }

    #[test]
    fn other_ways_to_log_in_are_forbidden_where_that_can_be_said() {
        let info = ConnInfo::parse("host=a").unwrap();
        assert!(info.for_libpq(16, true).unwrap().contains("require_auth='password,md5,scram-sha-256'"));
        assert!(!info.for_libpq(16, false).unwrap().contains("require_auth"));
        assert!(!info.for_libpq(15, true).unwrap().contains("require_auth"));
        let info = ConnInfo::parse("host=a require_auth=scram-sha-256").unwrap();
        assert!(info.for_libpq(16, true).unwrap().contains("require_auth='scram-sha-256'"));
        assert!(info.for_libpq(15, true).is_err());
        assert!(ConnInfo::parse("host=a sslpassword=x").unwrap().for_libpq(18, false).is_err());
    }
}
