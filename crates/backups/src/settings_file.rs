//! Files of a server's settings that are brought to another place, where they must not lead back to the old one.

use crate::access_file::with_others;
use crate::record::MOST_CONFIGURATION;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};

/// Where a server had its files. Names of files are those from the data directory on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The paths of the data directory: the one that was set, and the one without links.
    pub data: Vec<String>,
    /// The directory of `postgresql.conf`, where that is another.
    pub configuration: Option<String>,
    /// The file that stood for `postgresql.conf`, where it is among the data and has another name.
    pub settings: Option<String>,
    pub hba: String,
    pub ident: String,
    /// The files among the data that the settings include.
    pub included: Vec<String>,
    /// The directories of `pg_hba.conf` and `pg_ident.conf`, where these are others; not in older records.
    #[serde(default)]
    pub access: Vec<String>,
    /// The files that those name, where they go in a data directory; not in older records.
    #[serde(default)]
    pub rules: Vec<String>,
}

impl Place {
    /// Returns whether the names can be those of files in a data directory, and the paths those of directories.
    pub fn is_valid(&self) -> bool {
        let is_path = |path: &String| path.len() > 1 && path.starts_with('/') && !path.contains(char::is_control);
        let all = [&self.data, &self.included, &self.access, &self.rules];
        let mut names = self.settings.iter().chain([&self.hba, &self.ident]).chain(&self.included).chain(&self.rules);
        self.data.iter().chain(&self.configuration).chain(&self.access).all(is_path)
            && names.all(|name| is_name(name))
            && all.iter().all(|list| list.len() <= MOST_CONFIGURATION)
    }

    /// Returns the files of access rules, where they go in a data directory.
    pub fn of_access(&self) -> impl Iterator<Item = &str> {
        [&self.hba, &self.ident].into_iter().chain(&self.rules).map(String::as_str)
    }

    /// Returns what a file of access rules has to say in a new place: what it names by a path in the old one is beside it. `name` is that of
    /// the file.
    pub fn access_moved(&self, text: &str, name: &str) -> String {
        with_others(text, &|include| {
            let (Include::File(path) | Include::Directory(path)) = include;
            let path = Path::new(path);
            let mut old = self.data.iter().chain(&self.access);
            let within = old.find_map(|old| path.strip_prefix(old).ok())?.to_str()?;
            let up = "../".repeat(name.matches('/').count());
            Some(if within.is_empty() { format!("./{up}.") } else { format!("./{up}{within}") })
        })
    }
}

/// Returns whether a name leads to something below a directory.
pub fn is_name(name: &str) -> bool {
    const LONGEST: usize = 1000;
    (1..=LONGEST).contains(&name.len())
        && !name.contains(char::is_control)
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The settings that say where the files of a server are; a server in another place has them anew.
pub const OF_PLACE: [&str; 5] = ["data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"];

/// Returns what a file has to say in the new place. Where the old data are, and the moment that the server was recovered to itself, are
/// commented out: a server takes no second target, not even an empty one. Paths in the old data directory become those in the new one.
/// `depth` is the number of directories that the file is below it.
pub fn moved(text: &[u8], from: Option<&Place>, to: &str, depth: usize) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(|line| moved_line(line, from, to, depth)).collect();
    lines.join(&b'\n')
}

fn moved_line(line: &[u8], from: Option<&Place>, to: &str, depth: usize) -> Vec<u8> {
    let name = name_of(line);
    if name.starts_with("recovery_target") || OF_PLACE.contains(&name.as_str()) {
        return [b"#", line].concat();
    }
    let (Some(from), Ok(text)) = (from, std::str::from_utf8(line)) else { return line.to_vec() };
    if name.is_empty() {
        return line.to_vec();
    }
    let data = from.data.iter();
    let moved = if name.starts_with("include") {
        // From the directory of the file on, so that it is the same file wherever the data directory is.
        let up = if depth == 0 { ".".to_owned() } else { vec![".."; depth].join("/") };
        data.chain(&from.configuration).fold(text.to_owned(), |text, old| with_path(&text, old, &up))
    } else {
        data.fold(text.to_owned(), |text, old| with_path(&text, old, to))
    };
    moved.into_bytes()
}

/// The name of the setting, or the word, that a line begins with; empty for comments.
fn name_of(line: &[u8]) -> String {
    let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    line.trim_ascii_start().iter().take_while(is_of_name).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Puts one path in the place of another, where a path begins with that.
fn with_path(text: &str, old: &str, new: &str) -> String {
    let escaped = |path: &str| path.replace('\\', "\\\\").replace('\'', "''");
    let (old, new) = (escaped(old), escaped(new));
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '+' | '@' | '%');
    let mut changed = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(&old) {
        let end = at + old.len();
        let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
        if before.is_some_and(|c| c == '/' || goes_on(c)) || after.is_some_and(goes_on) {
            continue;
        }
        changed.push_str(&text[done..at]);
        changed.push_str(&new);
        done = end;
    }
    changed + &text[done..]
}

/// What a file of settings includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    File(String),
    /// All files in a directory that end in `.conf`.
    Directory(String),
}

/// Returns what a file of settings includes, as it names that.
pub fn includes(text: &[u8]) -> Vec<Include> {
    let include = |line: &[u8]| {
        let name = name_of(line);
        let line = std::str::from_utf8(line).ok()?.trim_start();
        let path = || value(line[name.len()..].trim_start().trim_start_matches('=').trim_start());
        match name.as_str() {
            "include" | "include_if_exists" => Some(Include::File(path())),
            "include_dir" => Some(Include::Directory(path())),
            _ => None,
        }
    };
    text.split(|&byte| byte == b'\n').filter_map(include).collect()
}

/// Reads a value, which may be quoted.
fn value(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('\'') else {
        return text.split(|c: char| c.is_whitespace() || c == '#').next().unwrap_or_default().to_owned();
    };
    let mut value = String::new();
    let mut rest = quoted.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' if rest.next_if_eq(&'\'').is_some() => value.push('\''),
            '\'' => break,
            '\\' => value.extend(rest.next()),
            c => value.push(c),
        }
    }
    value
}

/// Returns the name, from the data directory on, of what a file in a directory there names; `None` where that leads out of it.
pub fn within(directory: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            data: vec!["/old/data".into(), "/disk 1/it's".into()],
            configuration: Some("/etc/pg/main".into()),
            settings: None,
            hba: "pg_hba.conf".into(),
            ident: "conf/ident.conf".into(),
            access: vec!["/etc/pg/access".into()],
            ..Place::default()
        }
    }

    #[test]
    fn settings_lead_to_the_new_place() {
        for (old, depth, expected) in [
            ("port = 5432", 0, "port = 5432"),
            ("  Data_Directory='/old/data'", 0, "#  Data_Directory='/old/data'"),
            ("hba_file '/etc/pg/main/pg_hba.conf'", 0, "#hba_file '/etc/pg/main/pg_hba.conf'"),
            ("recovery_target_xid = '3'", 0, "#recovery_target_xid = '3'"),
            ("ssl_cert_file = '/old/data/server.crt' # /old/data", 0, "ssl_cert_file = '/new/server.crt' # /new"),
            ("log_directory='/old/data'", 0, "log_directory='/new'"),
            (
                "unix_socket_directories = '/tmp,/old/data/s, /old/data'",
                0,
                "unix_socket_directories = '/tmp,/new/s, /new'",
            ),
            ("x.command = 'cp %p --to=/old/data/x'", 0, "x.command = 'cp %p --to=/new/x'"),
            // Other directories that begin or end alike.
            ("log_directory = '/old/data2/log'", 0, "log_directory = '/old/data2/log'"),
            ("log_directory = '/very/old/data/log'", 0, "log_directory = '/very/old/data/log'"),
            ("log_directory = '/disk 1/it''s/log'", 0, "log_directory = '/new/log'"),
            ("# log_directory = '/old/data'", 0, "# log_directory = '/old/data'"),
            ("include '/old/data/more.conf'", 0, "include './more.conf'"),
            ("include_dir = '/old/data'", 2, "include_dir = '../..'"),
            ("include_if_exists '/etc/pg/main/x.conf'", 1, "include_if_exists '../x.conf'"),
            ("include '/etc/pg/other.conf'", 0, "include '/etc/pg/other.conf'"),
            ("ssl_cert_file = '/etc/pg/main/server.crt'", 0, "ssl_cert_file = '/etc/pg/main/server.crt'"),
        ] {
            let moved = moved(old.as_bytes(), Some(&place()), "/new", depth);
            assert_eq!(String::from_utf8(moved).unwrap(), expected, "{old}");
        }
        let whole = b"a = 1\n\xff '/old/data'\n\nhba_file = 'x'\n";
        assert_eq!(moved(whole, Some(&place()), "/new", 0), b"a = 1\n\xff '/old/data'\n\n#hba_file = 'x'\n");
        // Where nothing tells of the old place.
        assert_eq!(moved(b"log_directory = '/old/data'", None, "/new", 0), b"log_directory = '/old/data'");
    }

    #[test]
    fn includes_and_where_they_lead() {
        let text = b"include 'a.conf'\n Include_Dir='conf.d' # x\ninclude_if_exists 'it''s\\x'\n#include 'b'\nincluded = 'c'\ninclude d.conf#\n";
        let file = |name: &str| Include::File(name.into());
        let expected = [file("a.conf"), Include::Directory("conf.d".into()), file("it'sx"), file("d.conf")];
        assert_eq!(includes(text), expected);
        for (directory, path, expected) in [
            ("", "a.conf", Some("a.conf")),
            ("conf.d/x", "../a.conf", Some("conf.d/a.conf")),
            ("conf.d", "./../..", None),
            ("", "../a.conf", None),
            ("", "/old/data/a.conf", None),
            ("conf", ".", Some("conf")),
        ] {
            assert_eq!(within(directory, path).as_deref(), expected, "{directory} {path}");
        }
    }

    #[test]
    fn rules_lead_to_the_new_place() {
        for (old, name, expected) in [
            ("include /old/data/hba.d/x.conf", "pg_hba.conf", "include \"./hba.d/x.conf\""),
            ("local @/etc/pg/access/admins all peer", "pg_hba.conf", "local @\"./admins\" all peer"),
            ("include_dir /etc/pg/access", "hba.d/y/x.conf", "include_dir \"./../../.\""),
            ("include x.conf", "hba.d/x.conf", "include x.conf"),
            ("include /etc/pg/access2/x.conf", "pg_hba.conf", "include /etc/pg/access2/x.conf"),
        ] {
            assert_eq!(place().access_moved(old, name), expected);
        }
    }

    #[test]
    fn names_stay_in_the_data_directory() {
        assert!(place().is_valid());
        for name in ["", "/x", "../x", "a/../../x", "a\nb", &"x".repeat(1001)] {
            assert!(!Place { hba: name.into(), ..place() }.is_valid(), "{name}");
            assert!(!Place { included: vec![name.into()], ..place() }.is_valid(), "{name}");
            assert!(!Place { rules: vec![name.into()], ..place() }.is_valid(), "{name}");
        }
        for path in ["", "/", "x", "/a\nb"] {
            assert!(!Place { data: vec![path.into()], ..place() }.is_valid(), "{path}");
            assert!(!Place { access: vec![path.into()], ..place() }.is_valid(), "{path}");
        }
    }
}
