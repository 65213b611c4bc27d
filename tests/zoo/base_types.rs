//! Base types that users define, with and without a binary form.

use super::{arrives, plan};

/// A type that is stored as text is, with functions of the server's own.
fn text_like(name: &str, binary: bool) -> String {
    let functions = if binary {
        format!(
            "CREATE FUNCTION {name}_send({name}) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'textsend';
             CREATE FUNCTION {name}_recv(internal) RETURNS {name} LANGUAGE internal IMMUTABLE STRICT AS 'textrecv';"
        )
    } else {
        String::new()
    };
    let options = if binary { format!(", SEND = {name}_send, RECEIVE = {name}_recv") } else { String::new() };
    format!(
        "CREATE TYPE {name};
         CREATE FUNCTION {name}_in(cstring) RETURNS {name} LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION {name}_out({name}) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         {functions}
         CREATE TYPE {name} (INPUT = {name}_in, OUTPUT = {name}_out, LIKE = text{options});"
    )
}

#[test]
fn types_with_a_binary_form() {
    let mut pair = arrives(
        "zoo_base_binary",
        &format!(
            "{}
             CREATE TYPE pair_of_ints;
             CREATE FUNCTION pair_in(cstring) RETURNS pair_of_ints LANGUAGE internal IMMUTABLE STRICT AS 'int8in';
             CREATE FUNCTION pair_out(pair_of_ints) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int8out';
             CREATE FUNCTION pair_send(pair_of_ints) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int8send';
             CREATE FUNCTION pair_recv(internal) RETURNS pair_of_ints LANGUAGE internal IMMUTABLE STRICT AS 'int8recv';
             CREATE TYPE pair_of_ints (INPUT = pair_in, OUTPUT = pair_out, SEND = pair_send, RECEIVE = pair_recv, LIKE = int8);
             CREATE TABLE item (id int, w words, ws words[], p pair_of_ints, ps pair_of_ints[])",
            text_like("words", true)
        ),
        "INSERT INTO item VALUES (1, 'größe', '{a,NULL,\"b c\"}', '-1', '{1,2}'), (2, '', '{}', '9223372036854775807', NULL), (3, NULL, NULL, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn types_without_a_binary_form_travel_as_text() {
    let mut pair = arrives(
        "zoo_base_text",
        &format!(
            "{} CREATE DOMAIN said AS words; CREATE TYPE speech AS (by text, what words);
             CREATE TABLE item (id int, w words, ws words[], s said, sp speech); CREATE TABLE other (id int)",
            text_like("words", false)
        ),
        "INSERT INTO item VALUES (1, E'tab\\t and \\\\ and größe', '{a,NULL,\"b, c\"}', '\\N', '(me,\"a \\\"word\\\"\")'),
             (2, '', '{}', '', '(,)'), (3, NULL, NULL, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap text", "other swap binary"]);
}
