//! Patterns of file names, matched folder by folder, so that a directory tree and a flat list of keys are read alike.

/// A path in which `*` stands for any run of characters of one name, `?` for one character, `[…]` for one of a set
/// (`[!…]` for any other), and the name `**` for any number of folders.
///
/// A folder that the whole pattern matches is taken with the data files in it, of every depth. Programs leave files
/// beside their data whose names begin with `.` or `_`: wildcards match them only where the pattern spells that
/// character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    base: String,
    is_absolute: bool,
    names: Vec<Name>,
    is_literal: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Wild(Vec<Token>),
    AnyDepth,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    AnyOne,
    AnyRun,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// The state of matching a pattern against the folders above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The names of the pattern that may come next.
    next: Vec<usize>,
    /// Whether a folder above is matched by the whole pattern.
    inside: bool,
}

impl Pattern {
    pub fn parse(text: &str) -> Self {
        // A slash at the end only says that folders are meant.
        let text = text.strip_suffix('/').filter(|text| !text.is_empty()).unwrap_or(text);
        let names: Vec<_> = text.split('/').collect();
        let is_wild = |name: &&str| parse_name(name).is_none_or(|tokens| !is_literal(&tokens));
        // The last name is never part of the base: it is a file, or a folder of its own.
        let base = names.iter().position(is_wild).unwrap_or(names.len() - 1);
        Self {
            base: names[..base].join("/"),
            is_absolute: text.starts_with('/'),
            is_literal: !names.iter().any(is_wild),
            names: names_below(&names[base..]),
        }
    }

    /// Makes the pattern of the data files in a directory.
    pub fn directory(path: &str) -> Self {
        Self {
            base: path.trim_end_matches('/').into(),
            is_absolute: path.starts_with('/'),
            names: Vec::new(),
            is_literal: true,
        }
    }

    /// Returns the folder that contains everything that the pattern can match. The folders below it may name columns.
    pub fn base(&self) -> &str {
        if self.base.is_empty() && self.is_absolute { "/" } else { &self.base }
    }

    /// Returns whether the pattern is an ordinary path.
    pub fn is_literal(&self) -> bool {
        self.is_literal
    }

    /// Returns whether all matches lie in the base itself, or in folders there that match as a whole.
    pub fn is_of_one_level(&self) -> bool {
        matches!(self.names.as_slice(), [Name::Wild(_)])
    }

    /// Returns the state at the base.
    pub fn start(&self) -> Progress {
        self.progress(vec![0], false)
    }

    /// Returns the state in a folder, unless nothing in it can match.
    pub fn enter(&self, above: &Progress, folder: &str) -> Option<Progress> {
        let mut next = Vec::new();
        for &position in &above.next {
            match &self.names[position] {
                Name::Wild(tokens) if matches_name(tokens, folder) => next.push(position + 1),
                Name::AnyDepth if !is_hidden(folder) => next.push(position),
                _ => {}
            }
        }
        let inside = above.inside && !is_hidden(folder);
        let progress = self.progress(next, inside);
        (progress.inside || !progress.next.is_empty()).then_some(progress)
    }

    /// Returns whether a file of the folder matches.
    pub fn takes(&self, folder: &Progress, file: &str) -> bool {
        folder.inside && is_data_file(file)
            || folder.next.iter().any(|&position| {
                position + 1 == self.names.len()
                    && matches!(&self.names[position], Name::Wild(tokens) if matches_name(tokens, file))
            })
    }

    /// Returns the folders below the base on the way to a file, if it matches.
    pub fn folders_of<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let below = match self.base.as_str() {
            "" if !self.is_absolute => path,
            base => path.strip_prefix(base)?.strip_prefix('/')?,
        };
        let mut folders: Vec<_> = below.split('/').collect();
        let file = folders.pop()?;
        let mut progress = self.start();
        for folder in &folders {
            progress = self.enter(&progress, folder)?;
        }
        self.takes(&progress, file).then_some(folders)
    }

    fn progress(&self, mut next: Vec<usize>, mut inside: bool) -> Progress {
        // `**` may stand for no folder at all. Another one never follows it.
        for number in 0..next.len() {
            if self.names.get(next[number]) == Some(&Name::AnyDepth) {
                next.push(next[number] + 1);
            }
        }
        inside |= next.contains(&self.names.len());
        next.retain(|&position| position < self.names.len());
        next.sort_unstable();
        next.dedup();
        Progress { next, inside }
    }
}

/// Returns whether a name is one that programs use for files beside their data.
pub fn is_hidden(name: &str) -> bool {
    // A column may well begin with an underscore.
    name.starts_with('.') || name.starts_with('_') && !name.contains('=')
}

/// Returns whether a file is taken of which only the directory was named.
pub fn is_data_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !is_hidden(name) && (lower.ends_with(".parquet") || lower.ends_with(".parq"))
}

/// Parses a pattern; several `**` in a row mean the same as one.
fn names_below(texts: &[&str]) -> Vec<Name> {
    let mut names: Vec<Name> = texts.iter().map(|text| parse_name(text).map_or(Name::AnyDepth, Name::Wild)).collect();
    names.dedup_by(|next, name| *next == Name::AnyDepth && *name == Name::AnyDepth);
    names
}

/// Nothing for `**`.
fn parse_name(text: &str) -> Option<Vec<Token>> {
    if text == "**" {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = text;
    // Brackets behind the last closing one need not be looked at again and again.
    let last_closing = text.rfind(']').unwrap_or(0);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if tokens.last() == Some(&Token::AnyRun) => {}
            '*' => tokens.push(Token::AnyRun),
            '?' => tokens.push(Token::AnyOne),
            '[' if text.len() - rest.len() > last_closing => tokens.push(Token::One('[')),
            '[' => match parse_set(rest) {
                Some((set, after)) => {
                    tokens.push(set);
                    rest = after;
                }
                // As in a shell, a bracket without its partner is itself.
                None => tokens.push(Token::One('[')),
            },
            c => tokens.push(Token::One(c)),
        }
    }
    Some(tokens)
}

/// A set, from behind its opening bracket, and what follows it.
fn parse_set(text: &str) -> Option<(Token, &str)> {
    let (negated, set) = match text.strip_prefix(['!', '^']) {
        Some(set) => (true, set),
        None => (false, text),
    };
    // A closing bracket that comes first is a member.
    let end = set.char_indices().skip(1).find(|&(_, c)| c == ']')?.0;
    let members: Vec<char> = set[..end].chars().collect();
    let mut ranges = Vec::new();
    let mut position = 0;
    while position < members.len() {
        let low = members[position];
        if members.get(position + 1) == Some(&'-') && position + 2 < members.len() {
            ranges.push((low, members[position + 2]));
            position += 3;
        } else {
            ranges.push((low, low));
            position += 1;
        }
    }
    Some((Token::Set { negated, ranges }, &set[end + 1..]))
}

fn is_literal(tokens: &[Token]) -> bool {
    tokens.iter().all(|token| matches!(token, Token::One(_)))
}

fn matches_name(tokens: &[Token], name: &str) -> bool {
    let spelled = matches!(tokens.first(), Some(Token::One(_)));
    if is_hidden(name) && !spelled {
        return false;
    }
    let characters: Vec<char> = name.chars().collect();
    // Going back to the last `*` is enough, so that no name takes more than the product of both lengths.
    let (mut token, mut position, mut retry) = (0, 0, None);
    while position < characters.len() {
        match tokens.get(token) {
            Some(Token::AnyRun) => {
                retry = Some((token + 1, position));
                token += 1;
            }
            Some(one) if matches_one(one, characters[position]) => {
                token += 1;
                position += 1;
            }
            _ => {
                let Some((after_run, start)) = retry else { return false };
                retry = Some((after_run, start + 1));
                token = after_run;
                position = start + 1;
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::AnyRun)
}

fn matches_one(token: &Token, c: char) -> bool {
    match token {
        Token::One(one) => *one == c,
        Token::AnyOne => true,
        Token::AnyRun => false,
        Token::Set { negated, ranges } => ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).folders_of(path).is_some()
    }

    #[test]
    fn names() {
        assert!(takes("/data/*.parquet", "/data/a.parquet"));
        assert!(!takes("/data/*.parquet", "/data/a.parquet.tmp"));
        assert!(!takes("/data/*.parquet", "/data/x/a.parquet"));
        assert!(!takes("/data/*.parquet", "/database/a.parquet"));
        assert!(takes("/data/*", "/data/readme.txt"));
        assert!(takes("/d/part-?.x", "/d/part-ß.x"));
        assert!(!takes("/d/part-?.x", "/d/part-.x"));
        assert!(takes("/d/a*b*c", "/d/aXbXbc"));
        assert!(!takes("/d/a*b*c", "/d/aXcXb"));
        assert!(takes("/d/[a-cx]1", "/d/b1") && takes("/d/[a-cx]1", "/d/x1") && !takes("/d/[a-cx]1", "/d/d1"));
        assert!(takes("/d/[!0-9]", "/d/a") && !takes("/d/[!0-9]", "/d/5"));
        assert!(takes("/d/[]]", "/d/]") && takes("/d/[[]1]", "/d/[1]") && takes("/d/a[", "/d/a["));
        assert!(takes("/d/[a-]", "/d/-"));
        assert!(takes("*.parquet", "a.parquet"));
    }

    #[test]
    fn no_pattern_takes_longer_than_both_lengths_allow() {
        let name = "a".repeat(2_000);
        assert!(!takes(&format!("/d/{}b", "a*".repeat(400)), &format!("/d/{name}")));
        // Brackets without a partner, and sets of many members.
        assert!(!takes(&format!("/d/{}", "[".repeat(300_000)), "/d/a"));
        assert!(!takes(&format!("/d/[{}]", "x-y".repeat(100_000)), "/d/a"));
        // Folders of any depth, of which each could be taken by every part of the pattern.
        let folders = "a/".repeat(2_000);
        assert!(!takes(&format!("/d/{}b", "**/".repeat(2_000)), &format!("/d/{folders}a")));
        assert!(!takes(&format!("/d/{}b", "**/a/".repeat(300)), &format!("/d/{}a", "a/".repeat(600))));
        assert!(takes(&format!("/d/{}b", "**/a/".repeat(300)), &format!("/d/{}b", "a/".repeat(600))));
    }

    #[test]
    fn depths() {
        for path in ["/d/a.parquet", "/d/x/a.parquet", "/d/x/y/z/a.parquet"] {
            assert!(takes("/d/**/*.parquet", path), "{path}");
            assert!(takes("/d/**", path), "{path}");
            assert!(takes("/d", path), "{path}");
            assert!(takes("/*", path), "{path}");
        }
        assert!(!takes("/d/**", "/d/x/readme.txt"));
        assert!(takes("/d/**/*", "/d/x/readme.txt"));
        assert!(takes("/d/**/x/**/a", "/d/1/x/2/3/a") && takes("/d/**/x/**/a", "/d/x/a"));
        assert!(!takes("/d/**/x/**/a", "/d/1/2/a"));
        assert!(takes("/d/year=*/a.parquet", "/d/year=1/a.parquet"));
        assert!(takes("/d/year=*", "/d/year=1/month=2/a.parquet"));
        assert!(takes("/d/year=*/", "/d/year=1/a.parquet"));
        assert!(!takes("/d/year=*", "/d/year=1/month=2/a.csv"));
    }

    #[test]
    fn what_programs_keep_to_themselves() {
        for path in ["/d/.a.parquet", "/d/_metadata.parquet", "/d/_temporary/0/a.parquet", "/d/.x/a.parquet"] {
            assert!(!takes("/d", path) && !takes("/d/**/*.parquet", path) && !takes("/d/*", path), "{path}");
        }
        assert!(takes("/d/_*", "/d/_metadata") && takes("/d/.x/*", "/d/.x/a"));
        assert!(takes("/d", "/d/_k=1/a.parquet"));
        assert!(takes("/d", "/d/A.PARQ") && !takes("/d", "/d/a.parquets"));
    }

    #[test]
    fn bases_and_folders() {
        let pattern = Pattern::parse("/data/year=*/x/*.parquet");
        assert_eq!(pattern.base(), "/data");
        assert!(!pattern.is_literal() && !pattern.is_of_one_level());
        assert_eq!(pattern.folders_of("/data/year=1/x/a.parquet"), Some(vec!["year=1", "x"]));
        let pattern = Pattern::parse("/data/year=1/a.parquet");
        assert_eq!((pattern.base(), pattern.is_literal()), ("/data/year=1", true));
        assert_eq!(pattern.folders_of("/data/year=1/a.parquet"), Some(vec![]));
        let pattern = Pattern::directory("/data");
        assert_eq!(pattern.folders_of("/data/k=1/a.parquet"), Some(vec!["k=1"]));
        assert_eq!(Pattern::parse("*.parquet").base(), "");
        assert!(Pattern::parse("a/*.parquet").is_of_one_level());
        assert_eq!(Pattern::parse("/*").base(), "/");
        assert_eq!(Pattern::directory("/").folders_of("/k=1/a.parquet"), Some(vec!["k=1"]));
        let root = Pattern::directory("");
        assert_eq!(root.folders_of("k=1/a.parquet"), Some(vec!["k=1"]));
    }

    #[test]
    fn folders_without_hope_are_not_entered() {
        let pattern = Pattern::parse("/data/a*/x.parquet");
        let start = pattern.start();
        assert!(pattern.enter(&start, "b").is_none());
        let inside = pattern.enter(&start, "a1").unwrap();
        assert!(pattern.enter(&inside, "deeper").is_none());
        assert!(pattern.takes(&inside, "x.parquet"));
    }

    #[test]
    fn long_runs_end() {
        let name = "a".repeat(5000);
        assert!(!takes(&format!("/d/{}b", "*a".repeat(50)), &format!("/d/{name}")));
    }
}
