//! The location of a file: a path of this machine, a key in an object store, or a URL.

use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An absolute path, or a pattern of them.
    Local(String),
    Object(Object),
    Http(Http),
}

/// A key, or a pattern of them, in a container of an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub container: String,
    /// The account, where the URL itself names it.
    pub account: Option<String>,
    pub key: String,
    /// The URL without the key.
    pub root: String,
}

/// A file of a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub url: Url,
    /// The URL without its query, which may hold a signature.
    pub name: String,
}

/// The protocol of a remote file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    S3,
    Gcs,
    Azure,
    Http,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::S3, Self::Gcs, Self::Azure, Self::Http];

    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
            Self::Http => "http",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The reason why a text is no location: a message, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationError {
    pub message: String,
    pub hint: Option<&'static str>,
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LocationError {}

fn error<T>(message: String, hint: impl Into<Option<&'static str>>) -> Result<T, LocationError> {
    Err(LocationError { message, hint: hint.into() })
}

impl Location {
    /// # Errors
    /// [`LocationError`] for a text that names nothing that can be read.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return error("a path must not be empty".into(), None);
        }
        if text.contains('\0') {
            return error("a path must not hold a NUL".into(), None);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => Self::parse_url(text, &scheme.to_ascii_lowercase(), rest),
            _ if text.starts_with('/') => Ok(Self::Local(normal_path(text))),
            _ => error(
                format!("relative path not allowed: \"{text}\""),
                "Give an absolute path of the server's machine, or a URL.",
            ),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Self, LocationError> {
        let root_length = text.len() - rest.len();
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        let object = |kind, container: &str, account: Option<&str>| {
            Self::Object(Object {
                kind,
                container: container.into(),
                account: account.map(str::to_owned),
                key: key.into(),
                root: format!("{}{authority}/", &text[..root_length]),
            })
        };
        match scheme {
            "s3" | "s3a" if is_bucket(authority) => Ok(object(Kind::S3, authority, None)),
            "gs" if is_bucket(authority) => Ok(object(Kind::Gcs, authority, None)),
            "s3" | "s3a" | "gs" => {
                // A text before an "@" may be a password.
                let shown = authority.rsplit('@').next().unwrap_or_default();
                error(format!("invalid bucket name: \"{shown}\""), None)
            }
            "az" | "azure" | "abfs" | "abfss" => match authority.split_once('@') {
                None if is_container(authority) => Ok(object(Kind::Azure, authority, None)),
                Some((container, host)) if is_container(container) => {
                    let account = [".dfs.core.windows.net", ".blob.core.windows.net"]
                        .iter()
                        .find_map(|suffix| host.strip_suffix(suffix))
                        .filter(|account| is_account(account));
                    match account {
                        Some(account) => Ok(object(Kind::Azure, container, Some(account))),
                        None => error(format!("invalid storage account in URL: \"{host}\""), None),
                    }
                }
                _ => error(format!("invalid container name: \"{authority}\""), None),
            },
            "http" | "https" => Self::parse_http(text),
            _ => error(
                format!("URLs of scheme \"{scheme}\" are not supported"),
                "Supported are s3://, gs://, az://, abfss://, https:// and http://, and absolute paths.",
            ),
        }
    }

    fn parse_http(text: &str) -> Result<Self, LocationError> {
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        // A text before a host may be a password.
        let shown = match shown.split_once('@') {
            Some((_, host)) => format!("…@{host}"),
            None => shown.to_owned(),
        };
        let Ok(mut url) = Url::parse(text) else { return error(format!("invalid URL: \"{shown}\""), None) };
        if !url.username().is_empty() || url.password().is_some() {
            return error(
                format!("the URL must not hold a user name or a password: \"{shown}\""),
                "They belong to the user mapping of a foreign server.",
            );
        }
        if url.path().ends_with('/') {
            return error(
                format!("the URL names no file: \"{shown}\""),
                "Directories cannot be listed over HTTP; name each file.",
            );
        }
        url.set_fragment(None);
        let mut name = url.clone();
        name.set_query(None);
        Ok(Self::Http(Http { name: name.into(), url }))
    }

    /// Returns the protocol to read it; none for a file of this machine.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Local(_) => None,
            Self::Object(object) => Some(object.kind),
            Self::Http(_) => Some(Kind::Http),
        }
    }
}

impl Http {
    /// Returns whether the file is below the URL that bounds a server.
    pub fn is_below(&self, endpoint: &Url) -> bool {
        is_below(&self.url, endpoint)
    }
}

/// Returns whether a URL is of the same server as another, and below it.
pub fn is_below(url: &Url, endpoint: &Url) -> bool {
    let path = url.path().to_ascii_lowercase();
    // Servers that decode a path before they resolve it would leave the folder.
    let is_plain = !path.contains("%2f") && !path.contains("%5c") && !path.contains("%2e");
    url.scheme() == endpoint.scheme()
        && url.host_str() == endpoint.host_str()
        && url.port_or_known_default() == endpoint.port_or_known_default()
        && is_plain
        && url.path().strip_prefix(endpoint.path().trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

/// Parses the address of a store, as a server option.
///
/// # Errors
/// [`LocationError`] for a text that is no such address.
pub fn parse_endpoint(text: &str) -> Result<Url, LocationError> {
    match Url::parse(text) {
        Ok(url)
            if ["http", "https"].contains(&url.scheme())
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(url)
        }
        _ => error(
            "invalid endpoint".into(),
            "An endpoint is a URL with http:// or https://, a host, and perhaps a port and a path.",
        ),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Names become parts of host names and paths, so that anything else could lead elsewhere.
fn is_bucket(text: &str) -> bool {
    (3..=222).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("..")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_container(text: &str) -> bool {
    (3..=63).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-$".contains(c))
}

pub fn is_account(text: &str) -> bool {
    (3..=24).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Returns the path without empty and `.` names, so that one file has one name; a slash at the end is kept.
fn normal_path(text: &str) -> String {
    let mut path = String::new();
    for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
        path.push('/');
        path.push_str(name);
    }
    if path.is_empty() || text.ends_with('/') || text.ends_with("/.") {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> (Kind, String, Option<String>, String, String) {
        match Location::parse(text) {
            Ok(Location::Object(object)) => (object.kind, object.container, object.account, object.key, object.root),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn message(text: &str) -> String {
        Location::parse(text).expect_err(text).message
    }

    #[test]
    fn paths() {
        assert_eq!(Location::parse("/data//x/./a.parquet"), Ok(Location::Local("/data/x/a.parquet".into())));
        assert_eq!(Location::parse("/data/"), Ok(Location::Local("/data/".into())));
        assert_eq!(Location::parse("//"), Ok(Location::Local("/".into())));
        assert_eq!(Location::parse("/data/a://b"), Ok(Location::Local("/data/a:/b".into())));
        assert_eq!(message("data/x.parquet"), "relative path not allowed: \"data/x.parquet\"");
        assert_eq!(message(""), "a path must not be empty");
    }

    #[test]
    fn objects() {
        let of = |kind, container: &str, account: Option<&str>, key: &str, root: &str| {
            (kind, container.to_owned(), account.map(str::to_owned), key.to_owned(), root.to_owned())
        };
        assert_eq!(object("s3://lake/a/b.parquet"), of(Kind::S3, "lake", None, "a/b.parquet", "s3://lake/"));
        assert_eq!(object("S3://lake"), of(Kind::S3, "lake", None, "", "S3://lake/"));
        assert_eq!(object("gs://my_lake/x?"), of(Kind::Gcs, "my_lake", None, "x?", "gs://my_lake/"));
        assert_eq!(object("az://box/k=a%20b/x"), of(Kind::Azure, "box", None, "k=a%20b/x", "az://box/"));
        assert_eq!(
            object("abfss://box@lake1.dfs.core.windows.net/x"),
            of(Kind::Azure, "box", Some("lake1"), "x", "abfss://box@lake1.dfs.core.windows.net/")
        );
        for text in ["s3://", "s3:///x", "s3://a@evil.com/x", "s3://evil.com:80/x", "gs://a..b/x", "az://a.b/x"] {
            assert!(message(text).contains("invalid"), "{text}");
        }
        assert!(message("abfss://box@evil.com/x").contains("storage account"));
        assert!(message("ftp://host/x").contains("\"ftp\""));
    }

    #[test]
    fn urls() {
        let Ok(Location::Http(http)) = Location::parse("https://Host:443/a/../b c.parquet?sig=abc#x") else { panic!() };
        assert_eq!(http.name, "https://host/b%20c.parquet");
        assert_eq!(http.url.as_str(), "https://host/b%20c.parquet?sig=abc");
        assert!(message("https://host/dir/").contains("names no file"));
        assert!(message("https://host").contains("names no file"));
        let text = message("https://user:secret@host/x?sig=abc");
        assert!(text.contains("password") && !text.contains("secret") && !text.contains("abc"), "{text}");
    }

    #[test]
    fn below_an_endpoint() {
        let endpoint = parse_endpoint("https://host/data").unwrap();
        let below = |text: &str| is_below(&Url::parse(text).unwrap(), &endpoint);
        assert!(below("https://host/data/x") && below("https://host:443/data/a/b?c=d"));
        for text in [
            "http://host/data/x",
            "https://host:444/data/x",
            "https://host/database/x",
            "https://host/data/../x",
            "https://host/data/%2e%2e/x",
            "https://host/data/..%2fx",
            "https://host.evil/data/x",
        ] {
            assert!(!below(text), "{text}");
        }
        assert!(is_below(&Url::parse("http://h:1/x").unwrap(), &parse_endpoint("http://h:1").unwrap()));
        for text in ["s3://x", "https://u:p@h", "https://h/?x=y", "host"] {
            assert!(parse_endpoint(text).is_err(), "{text}");
        }
    }
}
