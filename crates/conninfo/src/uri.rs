use crate::{ConnInfoError, Parameters};

/// Returns the length of the scheme with its `://`, for a text that is a URI.
pub(crate) fn scheme_length(text: &str) -> Option<usize> {
    ["postgres://", "postgresql://"].iter().find(|scheme| text.starts_with(**scheme)).map(|scheme| scheme.len())
}

/// Parses the rest behind the scheme.
pub(crate) fn parse(text: &str) -> Result<Parameters, ConnInfoError> {
    let mut parameters = Vec::new();
    let (rest, query) = match text.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (text, ""),
    };
    // The credentials end at the first "@" before the path, as libpq has it. Any further one is most likely a password's,
    // of which the rest would then be taken for a host, a database or a parameter, and shown as such.
    let path_start = rest.find('/').unwrap_or(rest.len());
    let (credentials, rest) = match rest[..path_start].find('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        parameters.push(("user".into(), decode(user)?));
        if let Some(password) = password {
            parameters.push(("password".into(), decode(password)?));
        }
    }
    if rest.contains('@') || query.contains('@') {
        return Err(ConnInfoError::Syntax(
            "more than one \"@\" in the URI; percent-encode @, : and / in the password, as %40, %3A and %2F",
        ));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for part in authority.split(',') {
        let (host, port) = host_and_port(part)?;
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        parameters.push(("host".into(), hosts.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.push(("port".into(), ports.join(",")));
    }
    if !path.is_empty() {
        parameters.push(("dbname".into(), decode(path)?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or(ConnInfoError::Syntax("missing \"=\" in the query of the URI"))?;
        match (decode(name)?, decode(value)?) {
            // The form of JDBC is accepted, too.
            (name, value) if name == "ssl" && value == "true" => parameters.push(("sslmode".into(), "require".into())),
            parameter => parameters.push(parameter),
        }
    }
    Ok(parameters)
}

fn host_and_port(part: &str) -> Result<(&str, &str), ConnInfoError> {
    let Some(bracketed) = part.strip_prefix('[') else {
        return Ok(part.split_once(':').unwrap_or((part, "")));
    };
    let (host, rest) =
        bracketed.split_once(']').ok_or(ConnInfoError::Syntax("missing \"]\" after an IPv6 address in the URI"))?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err(ConnInfoError::Syntax("unexpected character after an IPv6 address in the URI")),
    }
}

fn decode(text: &str) -> Result<String, ConnInfoError> {
    let invalid = ConnInfoError::Syntax("invalid percent-encoding in the URI");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |position: usize| {
            after.get(position).and_then(|&digit| char::from(digit).to_digit(16)).ok_or(invalid.clone())
        };
        let code = digit(0)? * 16 + digit(1)?;
        if code == 0 {
            return Err(invalid);
        }
        bytes.push(code as u8);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| invalid)
}
