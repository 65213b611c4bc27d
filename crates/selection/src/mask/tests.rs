use super::*;

fn parse(text: &str) -> Result<Mask, (String, Option<String>)> {
    Mask::parse(&serde_json::from_str(text).unwrap())
}

fn column(base_type: &str, limit: Option<usize>) -> MaskedColumn {
    MaskedColumn {
        base_type: base_type.to_owned(),
        limit,
        decimals: None,
        precision: None,
        ignores_case: false,
        has_many_rows: false,
        has_functions: false,
        has_same_digits: false,
        is_character: false,
    }
}

#[test]
fn masks_and_their_options() {
    assert_eq!(parse("\"email\""), Ok(Mask::Email));
    assert_eq!(parse(r#"{"name": {"part": "first"}}"#), Ok(Mask::Name(NamePart::First)));
    assert_eq!(
        parse(r#"{"number": {"min": -1.5, "max": 2}}"#),
        Ok(Mask::Number(Spread::Range { least: "-1.5".into(), most: "2".into() }))
    );
    assert_eq!(parse("\"date\""), Ok(Mask::Date(DateSpread::Jitter(30))));
    assert_eq!(parse(r#"{"constant": true}"#), Ok(Mask::Constant("true".into())));
    for digits in ["9223372036854775807", "18446744073709551615", "-7"] {
        assert_eq!(parse(&format!(r#"{{"constant": {digits}}}"#)), Ok(Mask::Constant(digits.into())));
    }
    for digits in ["12345678901234567890.123456789", "1234567890123456789012", "0.10", "100.0", "1e5"] {
        let refused = parse(&format!(r#"{{"constant": {digits}}}"#)).unwrap_err().0;
        assert!(refused.starts_with("a number of mask constant must be whole"), "{refused}");
    }
    for (text, reason) in [
        ("1", "a mask is its name, or an object with its name and options"),
        ("\"emial\"", "mask \"emial\" is not known"),
        (r#"{"email": {"a": 1}}"#, "mask email has no options"),
        (r#"{"number": {"jiter": 1}}"#, "mask number has no option \"jiter\""),
        (r#"{"number": {"min": 1}}"#, "mask number takes either min and max or jitter"),
        (r#"{"number": {"min": 2, "max": 1}}"#, "min of mask number must not be greater than max"),
        (r#"{"number": {"jitter": 2}}"#, "jitter of mask number must be greater than 0 and at most 1"),
        (
            r#"{"date": {"min": "1.1.2000", "max": "2000-01-01"}}"#,
            "min of mask date must be a day such as \"2000-12-31\"",
        ),
        (r#"{"date": {"jitter": 0}}"#, "jitter of mask date must be from 1 to 36500 days"),
        ("\"constant\"", "mask constant needs a string, a number or a boolean"),
        ("\"json\"", "mask json needs paths with their masks"),
        (r#"{"json": {"a..b": "email"}}"#, "a path of mask json is made of keys with dots between them"),
        (r#"{"json": {"a": {"json": {"b": "null"}}}}"#, "a: mask json cannot be within another"),
        (r#"{"json": {"a.b": "emial"}}"#, "a.b: mask \"emial\" is not known"),
    ] {
        assert_eq!(parse(text).unwrap_err().0, reason, "{text}");
    }
}

#[test]
fn masks_are_for_types() {
    for (mask, base_type, limit, reason) in [
        (Mask::Email, "integer", None, "mask email is for columns of type text, not integer"),
        (Mask::Email, "character varying", Some(20), "mask email needs room for 29 characters at least"),
        (Mask::Hash, "integer", None, "mask hash is for columns of type text, bytea or bigint, not integer"),
        (Mask::Uuid, "integer", None, "mask uuid is for columns of type uuid or text, not integer"),
        (Mask::Ip, "cidr", None, "mask ip is for columns of type inet or text, not cidr"),
        (Mask::Email, "integer[]", None, "mask email is for columns of type text, not integer[]"),
        (Mask::Json(vec![]), "jsonb[]", None, "mask json is for columns of type json or jsonb, not jsonb[]"),
        (
            Mask::Number(Spread::Jitter("0.1".into())),
            "text",
            None,
            "mask number is for columns of type number, not text",
        ),
        (
            Mask::Date(DateSpread::Jitter(1)),
            "text",
            None,
            "mask date is for columns of type date or timestamp, not text",
        ),
        (Mask::Json(vec![]), "text", None, "mask json is for columns of type json or jsonb, not text"),
    ] {
        assert_eq!(mask.sql("c", &column(base_type, limit)), Err(reason.to_owned()));
    }
}

#[test]
fn ranges_that_hold_no_value_are_refused() {
    let of = |least: &str, most: &str, decimals: i32| {
        let range = parse(&format!(r#"{{"number": {{"min": {least}, "max": {most}}}}}"#)).unwrap();
        let column = MaskedColumn { decimals: Some(decimals), precision: Some(30), ..column("numeric", None) };
        range.sql("c", &column).map(|_| ())
    };
    for (least, most, decimals) in [
        ("0.1", "0.4", 0),
        ("-0.9", "-0.1", 0),
        ("1.001", "1.009", 2),
        ("0.0001", "0.0002", 3),
        ("1", "99", -2),
        ("-199.5", "-101", -2),
    ] {
        assert!(of(least, most, decimals).is_err(), "{least} {most} {decimals}");
    }
    for (least, most, decimals) in [
        ("-0.1", "0.4", 0),
        ("0.0", "0.4", 0),
        ("0.5", "1.0", 0),
        ("9.5", "10.5", 0),
        ("1.00", "1.004", 2),
        ("-1.01", "-1.001", 2),
        ("1", "100", -2),
        ("100.0", "100.5", -2),
    ] {
        assert_eq!(of(least, most, decimals), Ok(()), "{least} {most} {decimals}");
    }
    let range = parse(r#"{"number": {"min": 0.1, "max": 0.4}}"#).unwrap();
    assert_eq!(range.sql("c", &column("integer", None)).unwrap_err(), "no whole number is from 0.1 to 0.4".to_owned());
    assert!(range.sql("c", &column("numeric", None)).is_ok());
}

#[test]
fn bounds_are_compared_with_all_their_digits() {
    let refused = |least: &str, most: &str| {
        parse(&format!(r#"{{"number": {{"min": {least}, "max": {most}}}}}"#))
            .map_or_else(|error| error.0, |_| String::new())
    };
    for (least, most) in [("9007199254740993", "9007199254740992"), ("-1", "-1.5"), ("0", "-1")] {
        assert_eq!(refused(least, most), "min of mask number must not be greater than max");
    }
    for (least, most) in [("-0", "0.0"), ("9.9", "10"), ("-10", "-9.9"), ("1.5", "1.50")] {
        assert_eq!(refused(least, most), "");
    }
    for most in ["1e30", "1.2345678901234567"] {
        assert_eq!(refused("0", most), "max of mask number must have at most 15 digits and no exponent");
    }
}

#[test]
fn no_text_of_a_mask_leaves_its_quotes() {
    // A server with backslash_quote = off refuses the other way to write it.
    for mask in [Mask::Text, Mask::Phone] {
        assert!(!mask.sql("c", &column("text", None)).unwrap().contains("\\'\""));
    }
    let constant = parse(r#"{"constant": "'; DROP TABLE t; -- \\"}"#).unwrap();
    assert_eq!(constant.sql("c", &column("text", None)).unwrap(), "E'''; DROP TABLE t; -- \\\\'");
    let json = parse(r#"{"json": {"a'); --.b\"}": "null"}}"#).unwrap().sql("c", &column("jsonb", None)).unwrap();
    for part in [r#"(e.v -> 'a''); --'::pg_catalog.text)"#, r#"E'{"b\\"}"}'::pg_catalog.text[]"#] {
        assert!(json.contains(part), "{json}");
    }
}
