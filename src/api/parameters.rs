//! The parameters that several SQL functions share. Each list is written once, together with the request that it becomes.
//!
//! The macros take a function without its parameters. Its return type stands in brackets, because `pg_extern` reads the tokens of
//! the type. The body finds the request under the name that the function gives it.

use super::given;
use crate::error::{Error, Result};
use crate::local::document::Document;
use crate::local::text::Text;
use pgrx::PgSqlErrorCode;

/// Declares a SQL function with the parameters of a pull.
macro_rules! pull_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident) -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            source: Option<Text>,
            include: default!(Option<Vec<Option<Text>>>, "NULL"),
            exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
            overwrite: default!(Option<bool>, "false"),
            parallel: default!(Option<i32>, "NULL"),
            batch_size: default!(Option<i32>, 1000),
            validate: default!(Option<bool>, "true"),
            wait: default!(Option<bool>, "true"),
            verbose: default!(Option<bool>, "false"),
            refresh: default!(Option<bool>, "false"),
            method: default!(Option<Text>, "'auto'"),
            on_mismatch: default!(Option<Text>, "'error'"),
            verify: default!(Option<bool>, "false"),
            tables: default!(Option<crate::local::document::Document>, "NULL"),
            mask_key: default!(Option<Text>, "NULL"),
            mode: default!(Option<Text>, "'replace'"),
            follow_keys: default!(Option<bool>, "false"),
            triggers: default!(Option<bool>, "true"),
            compress: default!(Option<Text>, "'auto'"),
            trust_source: default!(Option<bool>, "false"),
            wire: default!(Option<Text>, "'binary'"),
        ) -> $($returned)* {
            let $request = crate::prepare::Request {
                source: given("source", source).0,
                include: include.map(parameters::patterns),
                exclude: exclude.map(parameters::patterns),
                overwrite: given("overwrite", overwrite),
                parallel,
                batch_size: given("batch_size", batch_size),
                validate: given("validate", validate),
                wait: given("wait", wait),
                verbose: given("verbose", verbose),
                refresh: given("refresh", refresh),
                in_place: parameters::is_second("method", &given("method", method), ["auto", "in place"]),
                skip_mismatched: parameters::is_second("on_mismatch", &given("on_mismatch", on_mismatch), ["error", "skip"]),
                verify: given("verify", verify),
                tables: tables.map(|tables| or_raise(tables.parse("tables"))),
                mask_key: mask_key.map(String::from),
                mode: given("mode", mode).0,
                follow_keys: given("follow_keys", follow_keys),
                triggers: given("triggers", triggers),
                compress: given("compress", compress).0,
                trust_source: given("trust_source", trust_source),
                wire: given("wire", wire).0,
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a migration, and more behind them.
macro_rules! migrate_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident)[$($more:tt)*] -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            source: Option<Text>,
            include: default!(Option<Vec<Option<Text>>>, "NULL"),
            exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
            existing: default!(Option<Text>, "'error'"),
            owners: default!(Option<bool>, "true"),
            privileges: default!(Option<bool>, "true"),
            publications: default!(Option<bool>, "false"),
            subscriptions: default!(Option<bool>, "false"),
            overwrite: default!(Option<bool>, "false"),
            parallel: default!(Option<i32>, "NULL"),
            wait: default!(Option<bool>, "true"),
            verbose: default!(Option<bool>, "false"),
            compress: default!(Option<Text>, "'auto'"),
            trust_source: default!(Option<bool>, "false"),
            $($more)*
        ) -> $($returned)* {
            let pull = parameters::pull_of_migration(
                given("source", source),
                [include, exclude].map(|patterns| patterns.map(parameters::patterns)),
                given("overwrite", overwrite),
                parallel,
                given("wait", wait),
                given("verbose", verbose),
                (given("compress", compress), given("trust_source", trust_source)),
            );
            let $request = crate::job::MigrateRequest {
                pull,
                existing: given("existing", existing).0,
                owners: given("owners", owners),
                privileges: given("privileges", privileges),
                publications: given("publications", publications),
                subscriptions: given("subscriptions", subscriptions),
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a check of local tables.
macro_rules! check_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident) -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters and columns are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            include: default!(Option<Vec<Option<Text>>>, "NULL"),
            exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
            parallel: default!(Option<i32>, "NULL"),
            storage: default!(Option<bool>, "true"),
            constraints: default!(Option<bool>, "true"),
            keep_writers_out: default!(Option<bool>, "false"),
            most_findings: default!(Option<i32>, 10),
            fail: default!(Option<bool>, "false"),
        ) -> $($returned)* {
            let $request = crate::prepare::CheckRequest {
                include: include.map(parameters::patterns),
                exclude: exclude.map(parameters::patterns),
                parallel,
                storage: given("storage", storage),
                constraints: given("constraints", constraints),
                keep_writers_out: given("keep_writers_out", keep_writers_out),
                most_findings: given("most_findings", most_findings),
                fail: given("fail", fail),
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a load of a script.
macro_rules! load_sql_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident) -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            path: Option<Text>,
            include: default!(Option<Vec<Option<Text>>>, "NULL"),
            exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
            owners: default!(Option<bool>, "true"),
            privileges: default!(Option<bool>, "true"),
            on_error: default!(Option<Text>, "'error'"),
            server: default!(Option<Text>, "NULL"),
            parallel: default!(Option<i32>, "NULL"),
        ) -> $($returned)* {
            let $request = crate::job::LoadSqlRequest {
                path: given("path", path).0,
                include: include.map(parameters::patterns),
                exclude: exclude.map(parameters::patterns),
                owners: given("owners", owners),
                privileges: given("privileges", privileges),
                on_error: given("on_error", on_error).0,
                server: server.map(String::from),
                parallel,
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a dump.
macro_rules! dump_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident) -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            path: Option<Text>,
            include: default!(Option<Vec<Option<Text>>>, "NULL"),
            exclude: default!(Option<Vec<Option<Text>>>, "NULL"),
            overwrite: default!(Option<bool>, "false"),
            sections: default!(Option<Vec<Option<Text>>>, "NULL"),
            definitions: default!(Option<bool>, "true"),
            data: default!(Option<bool>, "true"),
            owners: default!(Option<bool>, "true"),
            privileges: default!(Option<bool>, "true"),
            source: default!(Option<Text>, "NULL"),
        ) -> $($returned)* {
            let $request = crate::job::DumpRequest {
                path: given("path", path).0,
                include: include.map(parameters::patterns),
                exclude: exclude.map(parameters::patterns),
                overwrite: given("overwrite", overwrite),
                sections: sections.map(|sections| parameters::texts("a section", sections)),
                definitions: given("definitions", definitions),
                data: given("data", data),
                owners: given("owners", owners),
                privileges: given("privileges", privileges),
                source: source.map(String::from),
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a backup.
macro_rules! backup_function {
    ($(#[$($attribute:tt)*])* fn $name:ident($request:ident) -> [$($returned:tt)*] $body:block) => {
        $(#[$($attribute)*])*
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        #[pg_extern(volatile)]
        fn $name(
            directory: Option<Text>,
            label: default!(Option<Text>, "NULL"),
            format: default!(Option<Text>, "'tar'"),
            compress: default!(Option<Text>, "NULL"),
            incremental_from: default!(Option<Text>, "NULL"),
            max_rate: default!(Option<i32>, "NULL"),
            checkpoint: default!(Option<Text>, "'fast'"),
            connection: default!(Option<Text>, "NULL"),
        ) -> $($returned)* {
            let $request = crate::job::BackupTerms {
                directory: given("directory", directory).0,
                label: label.map(String::from),
                format: given("format", format).0,
                compress: compress.map(String::from),
                incremental_from: incremental_from.map(String::from),
                max_rate,
                checkpoint: given("checkpoint", checkpoint).0,
                connection: connection.map(String::from),
            };
            $body
        }
    };
}

/// Declares a SQL function with the parameters of a load of files, for one path and, under a second name in Rust, for an array.
macro_rules! load_function {
    (
        $(#[$($attribute:tt)*])*
        fn $one:ident, $many:ident as $name:tt($request:ident) -> [$($returned:tt)*] $body:block
    ) => {
        load_function! {
            @overload [$(#[$($attribute)*])* #[pg_extern(volatile)]]
            fn $one($request from path: [Option<Text>] = vec![path]) -> [$($returned)*] $body
        }
        load_function! {
            @overload [$(#[$($attribute)*])* #[pg_extern(volatile, name = $name)]]
            fn $many($request from path: [Option<Vec<Option<Text>>>] = given("path", path)) -> [$($returned)*] $body
        }
    };
    (
        @overload [$($attributes:tt)*]
        fn $name:ident($request:ident from $path:ident: [$($path_type:tt)*] = $paths:expr) -> [$($returned:tt)*] $body:block
    ) => {
        #[allow(clippy::too_many_arguments, clippy::type_complexity, reason = "the parameters are the signature")]
        $($attributes)*
        fn $name(
            $path: $($path_type)*,
            target: default!(Option<Text>, "NULL"),
            mode: default!(Option<Text>, "NULL"),
            create_table: default!(Option<Text>, "'if_missing'"),
            match_by: default!(Option<Text>, "'name'"),
            columns: default!(Option<crate::local::document::Document>, "NULL"),
            skip: default!(Option<Vec<Option<Text>>>, "NULL"),
            overwrite: default!(Option<bool>, "false"),
            parallel: default!(Option<i32>, "NULL"),
            on_lossy: default!(Option<Text>, "'error'"),
            server: default!(Option<Text>, "NULL"),
            on_invalid_text: default!(Option<Text>, "'error'"),
            key: default!(Option<Text>, "NULL"),
        ) -> $($returned)* {
            let $request = crate::prepare::load::LoadRequest {
                paths: parameters::texts("a path", $paths),
                target: target.map(String::from),
                mode: mode.map(String::from),
                create: given("create_table", create_table).0,
                match_by: given("match_by", match_by).0,
                columns: or_raise(parameters::pairs(columns)),
                skip: parameters::texts("a name in skip", skip.unwrap_or_default()),
                overwrite: given("overwrite", overwrite),
                parallel,
                on_lossy: given("on_lossy", on_lossy).0,
                server: server.map(String::from),
                on_invalid_text: given("on_invalid_text", on_invalid_text).0,
                key: key.map(String::from),
            };
            $body
        }
    };
}

pub(super) use {
    backup_function, check_function, dump_function, load_function, load_sql_function, migrate_function, pull_function,
};

/// The pull of a migration. `filters` are include and exclude.
pub(super) fn pull_of_migration(
    source: Text,
    filters: [Option<Vec<Option<String>>>; 2],
    overwrite: bool,
    parallel: Option<i32>,
    wait: bool,
    verbose: bool,
    (compress, trust_source): (Text, bool),
) -> crate::prepare::Request {
    let [include, exclude] = filters;
    crate::prepare::Request {
        source: source.0,
        include,
        exclude,
        overwrite,
        parallel,
        batch_size: 1000,
        validate: true,
        wait,
        verbose,
        // Those that it makes show the new rows; so must those that were here.
        refresh: true,
        in_place: false,
        skip_mismatched: false,
        verify: false,
        tables: None,
        mask_key: None,
        mode: crate::order::Mode::Replace.name().to_owned(),
        follow_keys: false,
        triggers: true,
        compress: compress.0,
        wire: "binary".to_owned(),
        trust_source,
    }
}

pub(super) fn patterns(given: Vec<Option<Text>>) -> Vec<Option<String>> {
    given.into_iter().map(|pattern| pattern.map(String::from)).collect()
}

pub(super) fn texts(name: &str, values: Vec<Option<Text>>) -> Vec<String> {
    values.into_iter().map(|value| given(name, value).0).collect()
}

/// Returns whether the value of a parameter with two values is the second, and raises an error if it is neither.
pub(super) fn is_second(parameter: &str, value: &Text, values: [&str; 2]) -> bool {
    let Some(position) = values.iter().position(|known| *known == value.0) else {
        Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{parameter} \"{}\" not recognized", value.0),
        )
        .hint(format!("It is \"{}\" or \"{}\".", values[0], values[1]))
        .raise()
    };
    position == 1
}

/// Returns the pairs of a target's column and a file's column that a JSON object names.
pub(super) fn pairs(columns: Option<Document>) -> Result<Vec<(String, String)>> {
    let wrong = || {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "columns must be an object of names")
            .hint("Write columns => '{\"column of the table\": \"column of the file\"}'.")
    };
    let Some(columns) = columns else { return Ok(Vec::new()) };
    let value = columns.parse("columns")?;
    let object = value.as_object().ok_or_else(wrong)?;
    object.iter().map(|(target, file)| Ok((target.clone(), file.as_str().ok_or_else(wrong)?.to_owned()))).collect()
}
