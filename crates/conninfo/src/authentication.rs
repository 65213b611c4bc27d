use serde::{Deserialize, Serialize};

/// The methods of authentication that the server may ask for, as in `require_auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedAuthentication {
    allowed: u8,
}

const METHODS: [&str; 6] = ["none", "password", "md5", "scram-sha-256", "gss", "sspi"];
const ALL: u8 = (1 << METHODS.len()) - 1;

impl AllowedAuthentication {
    /// Parses a list of methods, all of them or none with a `!` before it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        let excluded = entries.iter().filter(|entry| entry.starts_with('!')).count();
        if excluded > 0 && excluded < entries.len() {
            return None;
        }
        let named = entries.iter().try_fold(0, |named, entry| {
            let bit = 1 << METHODS.iter().position(|method| *method == entry.trim_start_matches('!'))?;
            (named & bit == 0).then_some(named | bit)
        })?;
        Some(Self { allowed: if excluded > 0 { ALL & !named } else { named } })
    }

    /// As `require_auth` takes it.
    pub(crate) fn list(self) -> String {
        METHODS.into_iter().filter(|method| self.allows(method)).collect::<Vec<_>>().join(",")
    }

    pub fn allows(self, method: &str) -> bool {
        METHODS.iter().position(|known| *known == method).is_some_and(|position| self.allowed & 1 << position != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let scram = AllowedAuthentication::parse("scram-sha-256").unwrap();
        assert!(scram.allows("scram-sha-256") && !scram.allows("md5") && !scram.allows("none"));
        let not_clear = AllowedAuthentication::parse("!password,!none").unwrap();
        assert!(not_clear.allows("md5") && !not_clear.allows("password") && !not_clear.allows("none"));
        for text in ["scram", "md5,!none", "md5,md5", ""] {
            assert_eq!(AllowedAuthentication::parse(text), None, "{text}");
        }
    }
}
