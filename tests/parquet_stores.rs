//! Which files are read, from where, and who may.

use crate::harness::certificates::{Authority, new_key};
use crate::harness::stores::{Azure, Page, S3, WebServer};
use crate::harness::{Failure, Pair, describe, eventually, texts};
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use postgres::Client;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use xtask::server::ScratchDirectory;

/// Name, size and folder columns of each file.
fn try_list(client: &mut Client, arguments: &str) -> Result<Vec<String>, postgres::Error> {
    let sql = format!("SELECT concat_ws(' ', file, bytes, partition) FROM pgcopy.parquet_files({arguments})");
    Ok(client.query(&sql, &[])?.iter().map(|row| row.get(0)).collect())
}

fn list(client: &mut Client, arguments: &str) -> Vec<String> {
    try_list(client, arguments).unwrap_or_else(|error| panic!("{arguments}: {}", describe(&error)))
}

fn failure(client: &mut Client, arguments: &str) -> Failure {
    match try_list(client, arguments) {
        Ok(files) => panic!("{arguments} succeeded: {files:?}"),
        Err(error) => Failure::of(&error),
    }
}

fn execute(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

fn sql_failure(client: &mut Client, sql: &str) -> Failure {
    match client.batch_execute(sql) {
        Ok(()) => panic!("{sql} succeeded"),
        Err(error) => Failure::of(&error),
    }
}

/// A role without any rights, anew.
fn create_role(client: &mut Client, role: &str) {
    execute(client, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}"));
}

fn write(directory: &Path, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn files_directories_and_patterns() {
    let mut pair = Pair::new("paths");
    let client = &mut pair.destination;
    let scratch = ScratchDirectory::create("paths").unwrap();
    let root = scratch.path().to_str().unwrap().to_owned();
    let directory = scratch.path();
    write(
        directory,
        &[
            "plain/b.parquet",
            "plain/a.PARQ",
            "plain/readme.txt",
            "plain/_metadata.parquet",
            "plain/.hidden.parquet",
            "plain/_temporary/0/t.parquet",
            "plain/deeper/c[1].parquet",
            "hive/year=2024/place=a%2Fb%20c/x.parquet",
            "hive/year=2025/place=__HIVE_DEFAULT_PARTITION__/x.parquet",
            "hive/year=2025/place=/y.parquet",
            "mixed/top.parquet",
            "mixed/k=1/x.parquet",
            "spark.parquet/part-0.parquet",
            "empty/readme.txt",
        ],
    );
    symlink(directory.join("plain"), directory.join("plain/deeper/up")).unwrap();
    let mut check = |paths: &str, expected: &[&str]| {
        let found = list(client, &paths.replace("~", &root));
        let expected: Vec<String> = expected
            .iter()
            .map(|line| {
                let (name, partition) = line.split_once(' ').unwrap_or((line, "{}"));
                format!("{root}/{name} {} {partition}", name.len())
            })
            .collect();
        assert_eq!(found, expected, "{paths}");
    };
    let plain = ["plain/a.PARQ", "plain/b.parquet", "plain/deeper/c[1].parquet"];
    check("'~/plain/b.parquet'", &["plain/b.parquet"]);
    check("'~/plain/./readme.txt'", &["plain/readme.txt"]);
    check("'~/plain'", &plain);
    check("'~//plain/'", &plain);
    check("'~/plain/**'", &plain);
    check("'~/plain/*.parquet'", &["plain/b.parquet"]);
    check("'~/plain/**/*.parquet'", &["plain/b.parquet", "plain/deeper/c[1].parquet"]);
    check("'~/plain/_*.parquet'", &["plain/_metadata.parquet"]);
    check("'~/plain/[ab].*'", &["plain/a.PARQ", "plain/b.parquet"]);
    check("'~/plain/[!a].*'", &["plain/b.parquet"]);
    check("'~/p?ain/*/c*'", &["plain/deeper/c[1].parquet"]);
    check("'~/plain/deeper/c[1].parquet'", &["plain/deeper/c[1].parquet"]);
    check("'~/spark.parquet'", &["spark.parquet/part-0.parquet"]);
    check("'~/*.parquet'", &["spark.parquet/part-0.parquet"]);
    check(
        "ARRAY['~/plain/b.parquet', '~/plain/*', '~/plain']",
        &["plain/a.PARQ", "plain/b.parquet", "plain/deeper/c[1].parquet", "plain/readme.txt"],
    );
    let hive = [
        "hive/year=2024/place=a%2Fb%20c/x.parquet {\"year\": \"2024\", \"place\": \"a/b c\"}",
        "hive/year=2025/place=/y.parquet {\"year\": \"2025\", \"place\": \"\"}",
        "hive/year=2025/place=__HIVE_DEFAULT_PARTITION__/x.parquet {\"year\": \"2025\", \"place\": null}",
    ];
    check("'~/hive'", &hive);
    check("'~/hive/year=*'", &hive);
    check("'~/hive/*/*/*.parquet'", &hive);
    check("ARRAY['~/hive/year=2025/place=/y.parquet', '~/hive']", &hive);
    check("'~/hive/year=2024/*/x.parquet'", &["hive/year=2024/place=a%2Fb%20c/x.parquet {\"place\": \"a/b c\"}"]);
    check("'~/hive/year=2025/place=/y.parquet'", &["hive/year=2025/place=/y.parquet"]);

    Command::new("mkfifo").arg(directory.join("pipe.parquet")).status().unwrap();
    symlink(directory.join("nowhere"), directory.join("plain/gone.parquet")).unwrap();
    for (paths, sqlstate, message) in [
        ("'~/none.parquet'", "58P01", "could not open file \"~/none.parquet\": No such file or directory"),
        ("'~/none*'", "58P01", "no file matches \"~/none*\""),
        ("'~/none/*'", "58P01", "no file matches \"~/none/*\""),
        ("'~/empty'", "58P01", "\"~/empty\" holds no Parquet file"),
        ("'~/pipe.parquet'", "42809", "\"~/pipe.parquet\" is not a regular file"),
        ("'~/pipe*'", "42809", "\"~/pipe.parquet\" is not a regular file"),
        ("'~/plain'", "58P01", "could not open file \"~/plain/gone.parquet\": No such file or directory"),
        ("'~/mixed'", "42804", "the folders of the files do not name the same columns"),
        ("'plain/b.parquet'", "22023", "relative path not allowed: \"plain/b.parquet\""),
        ("''", "22023", "a path must not be empty"),
        ("'{}'::text[]", "22023", "no path is given"),
        ("ARRAY['~/plain', NULL]", "22004", "a path must not be null"),
        ("NULL::text", "22004", "a path must not be null"),
        ("NULL::text[]", "22004", "a path must not be null"),
        ("'ftp://host/x.parquet'", "22023", "URLs of scheme \"ftp\" are not supported"),
        ("'az://box/x.parquet'", "22023", "no storage account is known for \"az://box/\""),
    ] {
        let failure = failure(client, &paths.replace("~", &root));
        assert_eq!((failure.sqlstate.as_str(), failure.message.replace(&root, "~")), (sqlstate, message.to_owned()));
    }
}

#[test]
fn who_may_read() {
    let mut pair = Pair::new("file_rights");
    let client = &mut pair.destination;
    let scratch = ScratchDirectory::create("file-rights").unwrap();
    write(scratch.path(), &["a.parquet"]);
    let path = format!("'{}/a.parquet'", scratch.path().display());
    let web = WebServer::start([
        ("/lake/a.parquet", Page::File(b"abc".to_vec())),
        ("/other/a.parquet", Page::File(b"abc".to_vec())),
    ]);
    let (url, other) = (format!("'{}'", web.url("/lake/a.parquet")), format!("'{}'", web.url("/other/a.parquet")));
    create_role(client, "file_stranger");
    create_role(client, "file_reader");
    execute(
        client,
        &format!(
            "GRANT pg_read_server_files TO file_reader;
             CREATE SERVER lake FOREIGN DATA WRAPPER pgcopy_store
                 OPTIONS (type 'http', endpoint '{}', allow_http 'true');
             CREATE SERVER bare FOREIGN DATA WRAPPER pgcopy_store;
             CREATE FOREIGN DATA WRAPPER some_wrapper;
             CREATE SERVER unrelated FOREIGN DATA WRAPPER some_wrapper;
             GRANT USAGE ON FOREIGN SERVER unrelated, bare TO file_stranger;
             SET ROLE file_stranger",
            web.url("/lake")
        ),
    );
    let refused = failure(client, &path);
    assert_eq!(refused.sqlstate, "42501");
    assert!(refused.detail.contains("\"pg_read_server_files\""), "{refused:?}");
    assert_eq!(failure(client, &url).message, "permission denied to read a URL without a server");
    assert_eq!(failure(client, &format!("{url}, 'lake'")).message, "permission denied for foreign server lake");
    assert_eq!(failure(client, &format!("{url}, 'none'")).sqlstate, "42704");
    assert_eq!(failure(client, &format!("{url}, 'unrelated'")).message, "server \"unrelated\" is not an object store");
    assert_eq!(failure(client, &format!("{url}, 'bare'")).sqlstate, "42501");
    assert!(web.requests().is_empty(), "nothing was asked for what is not allowed");

    execute(client, "RESET ROLE; GRANT USAGE ON FOREIGN SERVER lake TO file_stranger; SET ROLE file_stranger");
    assert_eq!(list(client, &format!("{url}, server => 'lake'")), [format!("{} 3 {{}}", web.url("/lake/a.parquet"))]);
    for elsewhere in [
        other.clone(),
        url.replace("/a.parquet", "/../other/a.parquet"),
        url.replace("/a.parquet", "/..%2fother/a.parquet"),
        url.replace("http://127.0.0.1", "http://localhost"),
        "'s3://lake/a.parquet'".into(),
    ] {
        let refused = failure(client, &format!("{elsewhere}, 'lake'"));
        assert_eq!(
            (refused.sqlstate.as_str(), refused.message.as_str()),
            ("42501", "server \"lake\" is not for this URL")
        );
    }
    assert_eq!(failure(client, &format!("{path}, 'lake'")).sqlstate, "22023");

    execute(client, "RESET ROLE; SET ROLE file_reader");
    assert_eq!(list(client, &path).len(), 1);
    assert_eq!(list(client, &url).len(), 1);
    assert_eq!(list(client, &format!("ARRAY[{path}, {url}, {other}]")).len(), 3);
    assert_eq!(failure(client, &format!("{url}, 'lake'")).sqlstate, "42501");
}

#[test]
fn options_of_servers_and_users() {
    let mut pair = Pair::new("store_options");
    let client = &mut pair.destination;
    let server = |options: &str| format!("CREATE SERVER lake FOREIGN DATA WRAPPER pgcopy_store OPTIONS ({options})");
    let unknown = sql_failure(client, &server("typo 'x'"));
    assert_eq!((unknown.sqlstate.as_str(), unknown.message.as_str()), ("HV00D", "invalid option \"typo\""));
    assert!(unknown.hint.contains("endpoint, region"), "{unknown:?}");
    let secret = sql_failure(client, &server("secret_access_key 'hunter2'"));
    assert!(secret.hint.contains("user mapping") && !format!("{secret:?}").contains("hunter2"), "{secret:?}");
    for options in [
        "type 'ftp'",
        "type 'http'",
        "endpoint 'http://h'",
        "endpoint 'https://u:hunter2@h', allow_http 'true'",
        "endpoint 'h'",
        "allow_http 'maybe'",
        "account 'Not.An.Account'",
        "region 'a/b'",
        "ca_certificate '/etc/passwd'",
    ] {
        let failure = sql_failure(client, &server(options));
        assert!(failure.sqlstate.starts_with("HV0"), "{options}: {failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
    execute(
        client,
        &server("type 's3', endpoint 'http://h:1', allow_http 'on', region 'eu-west-1', virtual_hosted 'false'"),
    );
    assert_eq!(sql_failure(client, "ALTER SERVER lake OPTIONS (DROP allow_http)").sqlstate, "HV024");
    let mapping = |options: &str| format!("CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS ({options})");
    for options in [
        "typo 'x'",
        "region 'x'",
        "access_key_id 'x'",
        "session_token 'x'",
        "\"user\" 'x'",
        "account_key 'hunter2', sas_token 'hunter2'",
        "bearer_token ''",
        "bearer_token E'hunter2\\r\\nHost: x'",
        "service_account_key 'hunter2'",
        "service_account_key '{\"client_email\": \"hunter2\"}'",
        r#"service_account_key '{"client_email": "a", "private_key": "b", "private_key_id": "c", "gcs_base_url": "x"}'"#,
    ] {
        let failure = sql_failure(client, &mapping(options));
        assert!(failure.sqlstate.starts_with("HV0"), "{options}: {failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
    execute(client, &mapping("account_key 'aHVudGVyMg=='"));
    assert!(failure(client, "'s3://lake/x', 'lake'").message.contains("does not apply to URLs of type \"s3\""));
    let wrapper = sql_failure(client, "ALTER FOREIGN DATA WRAPPER pgcopy_store OPTIONS (x 'y')");
    assert_eq!(wrapper.message, "invalid option \"x\"");
}

#[test]
fn a_web_server() {
    let mut pair = Pair::new("web");
    let client = &mut pair.destination;
    let content = b"0123456789".to_vec();
    let web = WebServer::start([
        ("/a.parquet", Page::File(content.clone())),
        ("/with%20space.parquet", Page::File(content.clone())),
        ("/empty", Page::File(Vec::new())),
        ("/whole", Page::WithoutRanges(content.clone())),
        ("/flaky", Page::Flaky(2, content.clone())),
        ("/broken", Page::Flaky(u32::MAX, content.clone())),
        ("/moved", Page::Redirect("/a.parquet".into())),
        ("/loop", Page::Redirect("/loop".into())),
        ("/away/moved", Page::Redirect("/a.parquet".into())),
        ("/basic/a", Page::Guarded("authorization: Basic YXBwOmh1bnRlcjI=".into(), content.clone())),
        ("/bearer/a", Page::Guarded("authorization: Bearer hunter2".into(), content.clone())),
        ("/talkative", Page::Status(403, "<Code>No</Code><Message>not you</Message><X>hunter2</X>".into())),
        ("/hang", Page::Hang),
    ]);
    let url = |path: &str| web.url(path);
    let quoted = |path: &str| format!("'{}'", web.url(path));
    for path in ["/a.parquet", "/flaky", "/moved"] {
        assert_eq!(list(client, &quoted(path)), [format!("{} 10 {{}}", url(path))]);
    }
    assert_eq!(list(client, &quoted("/with space.parquet")), [format!("{} 10 {{}}", url("/with%20space.parquet"))]);
    assert_eq!(list(client, &quoted("/empty")), [format!("{} 0 {{}}", url("/empty"))]);
    // A query may be a signature: it is sent, and not shown.
    assert_eq!(list(client, &quoted("/a.parquet?signature=hunter2")), [format!("{} 10 {{}}", url("/a.parquet"))]);
    assert!(web.requests().iter().any(|head| head.starts_with("GET /a.parquet?signature=hunter2 ")));
    for (path, sqlstate, words) in [
        ("/none?signature=hunter2", "58P01", "it does not exist"),
        ("/whole?signature=hunter2", "0A000", "its server does not send parts of files"),
        ("/broken?signature=hunter2", "08006", "503"),
        ("/loop?signature=hunter2", "08006", "too many redirects"),
        ("/talkative?signature=hunter2", "28000", "the store refuses access"),
        ("/directory/", "22023", "names no file"),
    ] {
        let failure = failure(client, &quoted(path));
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
        assert!(failure.message.contains(words) && !format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
    assert_eq!(failure(client, &quoted("/talkative")).detail, "The store answers: No: not you");
    let inside = failure(client, &format!("'{}'", url("/a").replace("//", "//app:hunter2@")));
    assert!(inside.hint.contains("user mapping") && !format!("{inside:?}").contains("hunter2"), "{inside:?}");
    let nobody = failure(client, "'http://127.0.0.1:1/x?signature=hunter2'");
    assert!(nobody.message.contains("onnect") && !format!("{nobody:?}").contains("hunter2"), "{nobody:?}");
    assert!(!nobody.message.contains("retries") && !nobody.message.contains("performing"), "{nobody:?}");
    let two = format!("ARRAY[{}, {}]", quoted("/a.parquet?version=1"), quoted("/a.parquet?version=2"));
    assert_eq!(failure(client, &two).sqlstate, "0A000");

    for (name, options) in [("basic", "\"user\" 'app', password 'hunter2'"), ("bearer", "bearer_token 'hunter2'")] {
        let file = format!("{}, '{name}'", quoted(&format!("/{name}/a")));
        execute(
            client,
            &format!(
                "CREATE SERVER {name} FOREIGN DATA WRAPPER pgcopy_store
                     OPTIONS (endpoint '{}', allow_http 'true')",
                url(&format!("/{name}"))
            ),
        );
        assert_eq!(failure(client, &file).sqlstate, "28000");
        execute(client, &format!("CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS ({options})"));
        assert_eq!(list(client, &file), [format!("{} 10 {{}}", url(&format!("/{name}/a")))]);
    }
    // A mapping of one's own comes before that of everybody.
    execute(client, "CREATE USER MAPPING FOR CURRENT_USER SERVER bearer OPTIONS (bearer_token 'other')");
    assert_eq!(failure(client, &format!("{}, 'bearer'", quoted("/bearer/a"))).sqlstate, "28000");
    // Whoever may use a server does not get at what it redirects to.
    execute(
        client,
        &format!(
            "CREATE SERVER away FOREIGN DATA WRAPPER pgcopy_store OPTIONS (endpoint '{}', allow_http 'true')",
            url("/away")
        ),
    );
    web.requests();
    let away = failure(client, &format!("{}, 'away'", quoted("/away/moved")));
    assert!(away.message.contains("redirects to a place that may not be read"), "{away:?}");
    assert!(!web.requests().iter().any(|head| head.starts_with("GET /a.parquet")));
}

#[test]
fn a_cancel_while_the_network_hangs() {
    let mut pair = Pair::new("web_cancel");
    let web = WebServer::start([("/hang", Page::Hang)]);
    let client = &mut pair.destination;
    execute(client, "SET statement_timeout = '300ms'");
    let timeout = failure(client, &format!("'{}'", web.url("/hang")));
    assert_eq!(
        (timeout.sqlstate.as_str(), timeout.message.as_str()),
        ("57014", "canceling statement due to statement timeout")
    );
    // The session goes on.
    web.put("/hang", Page::File(b"abc".to_vec()));
    execute(client, "RESET statement_timeout");
    assert_eq!(list(client, &format!("'{}'", web.url("/hang"))).len(), 1);

    web.put("/hang", Page::Hang);
    web.requests();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let mut other =
        Client::connect(&xtask::server::dsn(pair.destination_port, &pair.database), postgres::NoTls).unwrap();
    std::thread::scope(|scope| {
        let listing = scope.spawn(|| try_list(&mut pair.destination, &format!("'{}'", web.url("/hang"))));
        eventually("the request is on its way", || !web.requests().is_empty());
        other.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
        assert!(listing.join().unwrap().is_err());
    });
    eventually("the session has ended", || {
        other.query("SELECT FROM pg_stat_activity WHERE pid = $1", &[&pid]).unwrap().is_empty()
    });
}

#[test]
fn an_object_store() {
    let mut pair = Pair::new("s3");
    let client = &mut pair.destination;
    let s3 = S3::start("lake");
    for key in [
        "plain/a.parquet",
        "plain/b.parquet",
        "plain/readme.txt",
        "plain/_SUCCESS",
        "plain/deeper/c%5B1%5D.parquet",
        "plainer/x.parquet",
        "hive/year=2024/place=a%252Fb/x.parquet",
        "hive/year=2025/place=__HIVE_DEFAULT_PARTITION__/x.parquet",
        "odd/%C3%A4%20%2B%26%25.parquet",
        "top.parquet",
    ] {
        s3.put("lake", key, key.as_bytes());
    }
    execute(
        client,
        &format!(
            "CREATE SERVER lake FOREIGN DATA WRAPPER pgcopy_store
                 OPTIONS (type 's3', endpoint '{}', allow_http 'true')",
            s3.endpoint()
        ),
    );
    // The bucket is not public.
    let anonymous = failure(client, "'s3://lake/top.parquet', 'lake'");
    assert_eq!(anonymous.sqlstate, "28000", "{anonymous:?}");
    assert!(anonymous.hint.contains("user mapping"), "{anonymous:?}");
    s3.check_signatures();
    let mapping = |key: &str, secret: &str| {
        format!(
            "CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (access_key_id '{key}', secret_access_key '{secret}')"
        )
    };
    execute(client, &mapping(&s3.access_key_id, "hunter2hunter2"));
    for path in ["s3://lake/top.parquet", "s3://lake/plain/*"] {
        let failure = failure(client, &format!("'{path}', 'lake'"));
        assert_eq!(failure.sqlstate, "28000", "{failure:?}");
        let text = format!("{failure:?}");
        assert!(!text.contains("hunter2") && !text.contains(&s3.access_key_id), "{text}");
        assert!(!text.contains("belong to the user mapping"), "{text}");
    }
    execute(
        client,
        &format!(
            "DROP USER MAPPING FOR CURRENT_USER SERVER lake; {}",
            mapping(&s3.access_key_id, &s3.secret_access_key)
        ),
    );
    let mut check = |paths: &str, expected: &[(&str, usize, &str)]| {
        let found = list(client, &format!("{paths}, server => 'lake'"));
        let expected: Vec<String> =
            expected.iter().map(|(key, bytes, partition)| format!("s3://lake/{key} {bytes} {partition}")).collect();
        assert_eq!(found, expected, "{paths}");
    };
    let plain = [("plain/a.parquet", 15, "{}"), ("plain/b.parquet", 15, "{}"), ("plain/deeper/c[1].parquet", 29, "{}")];
    check("'s3://lake/plain/a.parquet'", &plain[..1]);
    check("'s3://lake/plain'", &plain);
    check("'s3://lake/plain/'", &plain);
    check("'s3://lake/plain/**'", &plain);
    check("'s3://lake/plain/*.parquet'", &plain[..2]);
    check("'s3://lake/plain/?.parquet'", &plain[..2]);
    check("'s3://lake/plain/d*'", &plain[2..]);
    check("'s3://lake/plain/*/c*'", &plain[2..]);
    check("'s3://lake/plain/deeper/c[1].parquet'", &plain[2..]);
    check("ARRAY['s3://lake/plain/a.parquet', 's3://lake/plain']", &plain);
    check("'s3://lake/*.parquet'", &[("top.parquet", 11, "{}")]);
    check("'s3://lake/odd/*'", &[("odd/ä +&%.parquet", 30, "{}")]);
    check("'s3://lake/odd/ä +&%.parquet'", &[("odd/ä +&%.parquet", 30, "{}")]);
    check(
        "'s3://lake/hive'",
        &[
            ("hive/year=2024/place=a%2Fb/x.parquet", 38, "{\"year\": \"2024\", \"place\": \"a/b\"}"),
            ("hive/year=2025/place=__HIVE_DEFAULT_PARTITION__/x.parquet", 57, "{\"year\": \"2025\", \"place\": null}"),
        ],
    );
    for (path, sqlstate, words) in [
        ("s3://lake/none.parquet", "58P01", "does not exist"),
        ("s3://lake/odder/", "58P01", "does not exist"),
        ("s3://lake/plain/x*", "58P01", "no file matches"),
        ("s3://nolake/plain/x*", "58P01", "it does not exist"),
        ("s3://lake/a//b", "22023", "is not supported"),
        ("gs://lake/a", "42501", "is not for this URL"),
    ] {
        let failure = failure(client, &format!("'{path}', 'lake'"));
        assert_eq!(failure.sqlstate, sqlstate, "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

/// A table from the files of a store, in the container `lake`, checked by content.
fn assert_loads(client: &mut Client, scheme: &str, server: &str) {
    execute(
        client,
        &format!(
            "DROP TABLE IF EXISTS item;
             SELECT pgcopy.load_parquet('{scheme}://lake/items/*/*.parquet', target => 'item', server => '{server}', parallel => 2)"
        ),
    );
    let rows = "SELECT concat_ws(' ', year, count(*), sum(id)) FROM item GROUP BY year ORDER BY year";
    assert_eq!(texts(client, rows), ["2024 1000 500500", "2025 1000 500500"], "{scheme} {server}");
}

/// A file of 1000 rows in several row groups.
fn items(client: &mut Client, scratch: &ScratchDirectory) -> Vec<u8> {
    let file = scratch.path().join("items.parquet");
    execute(
        client,
        &format!(
            "LOAD 'pgcopy';
             COPY (SELECT i AS id FROM generate_series(1, 1000) i) TO '{}' (FORMAT parquet, row_group_rows 300)",
            file.display()
        ),
    );
    fs::read(file).unwrap()
}

#[test]
fn a_store_of_azure() {
    let mut pair = Pair::new("azure");
    let client = &mut pair.destination;
    let scratch = ScratchDirectory::create("azure-files").unwrap();
    let content = items(client, &scratch);
    let azure = Azure::start("azure", "lake");
    for key in ["items/year=2024/a.parquet", "items/year=2025/b%20c.parquet", "other/x.parquet", "items/readme.txt"] {
        azure.put("lake", key, &content);
    }
    for (server, mapping) in [
        ("keyed", format!("account_key '{}'", Azure::KEY)),
        ("signed", format!("sas_token '{}'", azure.sas_token("lake"))),
        ("wrong", format!("account_key '{}'", openssl::base64::encode_block(b"hunter2hunter2"))),
        ("nobody", String::new()),
    ] {
        execute(
            client,
            &format!(
                "CREATE SERVER {server} FOREIGN DATA WRAPPER pgcopy_store
                     OPTIONS (type 'azure', account '{}', endpoint '{}', allow_http 'true')",
                Azure::ACCOUNT,
                azure.endpoint()
            ),
        );
        if !mapping.is_empty() {
            execute(client, &format!("CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS ({mapping})"));
        }
    }
    let size = content.len();
    for server in ["keyed", "signed"] {
        assert_eq!(
            list(client, &format!("'az://lake/items', '{server}'")),
            [
                format!("az://lake/items/year=2024/a.parquet {size} {{\"year\": \"2024\"}}"),
                format!("az://lake/items/year=2025/b c.parquet {size} {{\"year\": \"2025\"}}")
            ]
        );
        assert_eq!(
            list(client, &format!("'az://lake/other/x.parquet', '{server}'")),
            [format!("az://lake/other/x.parquet {size} {{}}")]
        );
        assert_loads(client, "az", server);
        let missing = failure(client, &format!("'az://lake/none.parquet', '{server}'"));
        assert_eq!(missing.sqlstate, "58P01", "{missing:?}");
    }
    for (server, is_known) in [("wrong", true), ("nobody", false)] {
        for path in ["az://lake/other/x.parquet", "az://lake/items/*"] {
            let refused = failure(client, &format!("'{path}', '{server}'"));
            assert_eq!(refused.hint.contains("user mapping"), !is_known, "{server} {refused:?}");
            assert!(["28000", "58P01"].contains(&refused.sqlstate.as_str()), "{server} {refused:?}");
            assert!(!format!("{refused:?}").contains("aHVudGVyMmh1bnRlcjI"), "{refused:?}");
        }
    }
}

#[test]
fn a_store_of_google() {
    let mut pair = Pair::new("gcs");
    let client = &mut pair.destination;
    let scratch = ScratchDirectory::create("gcs-files").unwrap();
    let content = items(client, &scratch);
    let store = S3::start("lake");
    for key in ["items/year=2024/a.parquet", "items/year=2025/b%20c.parquet", "other/x.parquet", "items/readme.txt"] {
        store.put("lake", key, &content);
    }
    let web =
        WebServer::start([("/lake/guarded", Page::Guarded("authorization: Bearer hunter2".into(), content.clone()))]);
    let create = |client: &mut Client, server: &str, endpoint: &str| {
        execute(
            client,
            &format!(
                "CREATE SERVER {server} FOREIGN DATA WRAPPER pgcopy_store
                     OPTIONS (type 'gcs', endpoint '{endpoint}', allow_http 'true')"
            ),
        );
    };
    create(client, "lake", &store.endpoint());
    // The bucket is not public.
    assert_eq!(failure(client, "'gs://lake/other/x.parquet', 'lake'").sqlstate, "28000");
    execute(client, "CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (bearer_token 'hunter2')");
    let size = content.len();
    assert_eq!(
        list(client, "'gs://lake/items', 'lake'"),
        [
            format!("gs://lake/items/year=2024/a.parquet {size} {{\"year\": \"2024\"}}"),
            format!("gs://lake/items/year=2025/b c.parquet {size} {{\"year\": \"2025\"}}")
        ]
    );
    assert_loads(client, "gs", "lake");
    assert_eq!(failure(client, "'gs://lake/none.parquet', 'lake'").sqlstate, "58P01");
    // Who asks, with a token of one's own.
    create(client, "guarded", &web.url(""));
    let guarded = "'gs://lake/guarded', 'guarded'";
    let anonymous = failure(client, guarded);
    assert_eq!(anonymous.sqlstate, "28000", "{anonymous:?}");
    assert!(web.requests().iter().all(|head| !head.contains("authorization")));
    execute(client, "CREATE USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (bearer_token 'hunter2')");
    assert_eq!(list(client, guarded), [format!("gs://lake/guarded {size} {{}}")]);
    // With the key of a service account: a token that it signs.
    let key = new_key();
    let account = serde_json::json!({
        "client_email": "app@project.example",
        "private_key_id": "kid",
        "private_key": String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
    });
    execute(
        client,
        &format!(
            "DROP USER MAPPING FOR CURRENT_USER SERVER guarded;
             CREATE USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (service_account_key '{account}')"
        ),
    );
    web.requests();
    assert_eq!(failure(client, guarded).sqlstate, "28000");
    let heads = web.requests();
    let token = heads[0].split("authorization: Bearer ").nth(1).unwrap().lines().next().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decoded = |text: &str| {
        let padded = format!("{}{}", text.replace('-', "+").replace('_', "/"), "=".repeat((4 - text.len() % 4) % 4));
        openssl::base64::decode_block(&padded).unwrap()
    };
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
    assert!(verifier.verify_oneshot(&decoded(signature), signed.as_bytes()).unwrap());
    let claims: serde_json::Value = serde_json::from_slice(&decoded(signed.split('.').nth(1).unwrap())).unwrap();
    assert_eq!(claims["iss"], "app@project.example");
}

#[test]
fn certificates_of_ones_own_authority() {
    let mut pair = Pair::new("store_certificates");
    let client = &mut pair.destination;
    let (authority, stranger) = (Authority::new("Lake CA"), Authority::new("Other CA"));
    let content = b"0123456789".to_vec();
    let web = WebServer::start_encrypted(
        &authority,
        [
            ("/a.parquet", Page::File(content.clone())),
            ("/guarded", Page::Guarded("authorization: Basic YXBwOmh1bnRlcjI=".into(), content)),
        ],
    );
    let url = web.url("/a.parquet");
    let untrusted = failure(client, &format!("'{url}'"));
    assert_eq!(untrusted.sqlstate, "08006", "{untrusted:?}");
    assert!(untrusted.message.contains("certificate"), "{untrusted:?}");
    for (server, signer) in [("bare", None), ("other", Some(&stranger)), ("lake", Some(&authority))] {
        let pem = signer.map(|signer: &Authority| String::from_utf8(signer.certificate.to_pem().unwrap()).unwrap());
        let option = pem.map_or_else(String::new, |pem| format!(", ca_certificate '{pem}'"));
        execute(
            client,
            &format!(
                "CREATE SERVER {server} FOREIGN DATA WRAPPER pgcopy_store OPTIONS (type 'http', endpoint '{}'{option});
                 CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS (\"user\" 'app', password 'hunter2')",
                web.url("")
            ),
        );
    }
    for server in ["bare", "other"] {
        let refused = failure(client, &format!("'{url}', '{server}'"));
        assert_eq!(refused.sqlstate, "08006", "{refused:?}");
        assert!(refused.message.contains("certificate"), "{refused:?}");
    }
    // Nobody was told the password before the certificate was checked.
    assert!(web.requests().is_empty());
    assert_eq!(list(client, &format!("'{url}', 'lake'")), [format!("{url} 10 {{}}")]);
    let guarded = web.url("/guarded");
    assert_eq!(list(client, &format!("'{guarded}', 'lake'")), [format!("{guarded} 10 {{}}")]);
    // The certificate is for the address, and for no other name of the machine.
    execute(
        client,
        &format!("ALTER SERVER lake OPTIONS (SET endpoint '{}')", web.url("").replace("127.0.0.1", "localhost")),
    );
    let elsewhere = failure(client, &format!("'{}', 'lake'", url.replace("127.0.0.1", "localhost")));
    assert!(elsewhere.message.contains("certificate"), "{elsewhere:?}");
}

#[test]
fn copy_reads_through_a_server_that_one_may_use() {
    let mut pair = Pair::new("copy_store");
    let client = &mut pair.destination;
    let scratch = ScratchDirectory::create("copy-store").unwrap();
    let content = items(client, &scratch);
    let web = WebServer::start([
        ("/lake/items.parquet", Page::File(content.clone())),
        ("/other/items.parquet", Page::File(content)),
    ]);
    create_role(client, "copy_reader");
    execute(
        client,
        &format!(
            "CREATE TABLE item (id integer); GRANT INSERT ON item TO copy_reader;
             CREATE TABLE secret (id integer);
             CREATE SERVER lake FOREIGN DATA WRAPPER pgcopy_store
                 OPTIONS (type 'http', endpoint '{}', allow_http 'true');
             SET ROLE copy_reader",
            web.url("/lake")
        ),
    );
    let (inside, outside) = (web.url("/lake/items.parquet"), web.url("/other/items.parquet"));
    let copy = |path: &str, options: &str| format!("COPY item FROM '{path}' (FORMAT parquet{options})");
    let refused = sql_failure(client, &copy(&inside, ", server 'lake'"));
    assert_eq!(
        (refused.sqlstate.as_str(), refused.message.as_str()),
        ("42501", "permission denied for foreign server lake")
    );
    execute(client, "RESET ROLE; GRANT USAGE ON FOREIGN SERVER lake TO copy_reader; SET ROLE copy_reader");
    execute(client, &copy(&inside, ", server 'lake'"));
    let local = scratch.path().join("items.parquet").display().to_string();
    web.requests();
    for (sql, sqlstate, message) in [
        (copy(&inside, ""), "42501", "permission denied to COPY from a file"),
        (copy(&outside, ", server 'lake'"), "42501", "server \"lake\" is not for this URL"),
        (copy(&local, ", server 'lake'"), "22023", "server \"lake\" is given with a path of this machine"),
        (copy(&local, ""), "42501", "permission denied to COPY from a file"),
        (copy(&local, ", server 'none'"), "42704", "server \"none\" does not exist"),
        (
            copy(&inside, ", server 'lake'").replace("item FROM", "secret FROM"),
            "42501",
            "permission denied for table secret",
        ),
        (
            "COPY item TO '/tmp/x.parquet' (FORMAT parquet, server 'lake')".into(),
            "0A000",
            "COPY SERVER cannot be used with COPY TO",
        ),
    ] {
        let failure = sql_failure(client, &sql);
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), (sqlstate, message), "{sql}");
    }
    assert!(web.requests().is_empty(), "nothing was asked for what is not allowed");
    execute(client, "RESET ROLE");
    assert_eq!(texts(client, "SELECT concat_ws(' ', count(*), sum(id)) FROM item"), ["1000 500500"]);
}
