//! The parts of errors of the network or of a store that may be shown.

/// Removes queries of URLs, which can be signatures, and texts before a host, which can be passwords.
pub fn redact(text: &str, secrets: &[&str]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(authority_end);
        shown.push_str(authority.rsplit('@').next().unwrap_or_default());
        match path.split_once(['?', '#']) {
            Some((path, query)) => {
                shown.push_str(path);
                shown.push_str("?…");
                // Errors put URLs in parentheses.
                let closing = query.len() - query.trim_end_matches([')', ':', ',']).len();
                shown.push_str(&query[query.len() - closing..]);
            }
            None => shown.push_str(path),
        }
        rest = after;
    }
    shown.push_str(rest);
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        shown = shown.replace(secret, "…");
    }
    shown
}

/// Returns the code and the message of a store's own answer, inside the text of an error. Stores repeat parts of the
/// request in other places of it.
pub fn answer(text: &str) -> Option<String> {
    let between = |open: &str, close: &str| {
        let start = text.find(open)? + open.len();
        let length = text[start..].find(close)?;
        Some(text[start..start + length].trim()).filter(|found| !found.is_empty())
    };
    match (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        (Some(code), Some(message)) => Some(format!("{code}: {}", message.lines().next().unwrap_or_default())),
        (Some(code), None) => Some(code.into()),
        (None, Some(message)) => Some(message.into()),
        (None, None) => between("\"message\": \"", "\"").or_else(|| between("\"message\":\"", "\"")).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_may_be_secret() {
        let cases = [
            ("error for url (https://h/x?sig=a(b)c): oops", "error for url (https://h/x?…): oops"),
            ("GET https://h/x?a=b", "GET https://h/x?…"),
            ("https://user:pw@h:1/x and https://g/?q", "https://h:1/x and https://g/?…"),
            ("nothing here?", "nothing here?"),
            ("https://h/x", "https://h/x"),
        ];
        for (text, shown) in cases {
            assert_eq!(redact(text, &[]), shown);
        }
        assert_eq!(redact("signed with hunter2!", &["hunter2", ""]), "signed with …!");
    }

    #[test]
    fn answers_of_stores() {
        let text = "403: <?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>The signature\nX</Message>\
                    <StringToSign>secret</StringToSign></Error>";
        assert_eq!(answer(text).as_deref(), Some("SignatureDoesNotMatch: The signature"));
        assert_eq!(answer("{\"error\": {\"message\": \"no such bucket\"}}").as_deref(), Some("no such bucket"));
        assert_eq!(answer("nothing"), None);
    }
}
