//! What a file asks for in memory: bounded, refused in words, and never the end of the server.

use crate::harness::{Failure, connect, installation, text};
use postgres::Client;
use xtask::server::{Options, ScratchDirectory, Server};

/// A server none of whose processes can have more memory than that.
struct Limited {
    server: Server,
    files: ScratchDirectory,
    started: String,
}

const BYTES: u64 = 3 << 30;

impl Limited {
    fn start(name: &str) -> Self {
        let server = Server::start(&installation(), Options::named(name).with_memory(BYTES)).unwrap();
        let mut client = connect(server.port(), "postgres");
        client.batch_execute("CREATE EXTENSION pgcopy").unwrap();
        let files = ScratchDirectory::create(name).unwrap();
        for entry in std::fs::read_dir(xtask::root().join("tests/data/parquet")).unwrap().flatten() {
            std::fs::copy(entry.path(), files.path().join(entry.file_name())).unwrap();
        }
        let started = text(&mut client, STARTED);
        Self { server, files, started }
    }

    fn session(&self) -> Client {
        connect(self.server.port(), "postgres")
    }

    fn path(&self, file: &str) -> String {
        self.files.path().join(file).display().to_string()
    }

    /// No process has ended by a signal.
    fn assert_sound(&self, what: &str) {
        let log = self.server.log_text();
        assert!(!log.contains("was terminated by signal"), "{what}: {log}");
        assert_eq!(text(&mut self.session(), STARTED), self.started, "{what}");
    }
}

const STARTED: &str = "SELECT pg_postmaster_start_time()::text";

#[test]
fn values_whose_number_a_file_makes_up() {
    let limited = Limited::start("parquet-limited");
    // What a type of a megabyte takes for each of ten million NULLs, and a hundred columns of 16 million values.
    for file in ["nulls_of_a_megabyte_each.parquet", "long_list_of_many_columns.parquet"] {
        for parallel in [0, 2] {
            let path = limited.path(file);
            let sql = format!("SELECT pgcopy.load_parquet('{path}', target => 't', parallel => {parallel})");
            let failure = Failure::of(&limited.session().batch_execute(&sql).expect_err(file));
            limited.assert_sound(file);
            assert!(["54000", "53200"].contains(&failure.sqlstate.as_str()), "{failure:?}");
            let told = format!("{} {}", failure.message, failure.detail);
            for part in [path.as_str(), "row group 0", "row 1", "column \"s.list"] {
                assert!(told.contains(part), "{failure:?} does not tell {part}");
            }
        }
    }
    // What the server can hold is held, or is an error with the row and the column.
    for (file, type_name) in [
        ("long_list_of_lists.parquet", "jsonb"),
        ("long_list_of_lists.parquet", "json"),
        ("long_list_of_texts.parquet", "text[]"),
        ("long_list_of_texts.parquet", "jsonb"),
    ] {
        let path = limited.path(file);
        let mut client = limited.session();
        client.batch_execute(&format!("DROP TABLE IF EXISTS held; CREATE TABLE held (s {type_name})")).unwrap();
        let sql = format!("SELECT pgcopy.load_parquet('{path}', target => 'held', parallel => 0)");
        let outcome = client.batch_execute(&sql).map_err(|error| Failure::of(&error));
        limited.assert_sound(file);
        if let Err(failure) = outcome {
            let told = format!("{} {}", failure.message, failure.detail);
            for part in [path.as_str(), "row 1", "column s"] {
                assert!(told.contains(part), "{type_name}: {failure:?} does not tell {part}");
            }
        }
    }
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// More of them: PGCOPY_TEST_CHANGES=10000 PGCOPY_TEST_SEED=1 cargo xtask test changed_files --tests-only
#[test]
fn changed_files_do_not_end_the_server() {
    let limited = Limited::start("parquet-changed");
    let setting = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let mut random = Random(setting("PGCOPY_TEST_SEED", 3) as u64);
    let mut paths: Vec<_> =
        std::fs::read_dir(limited.files.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut client = limited.session();
    for turn in 0..setting("PGCOPY_TEST_CHANGES", 300) {
        let mut file = files[random.below(files.len())].clone();
        for _ in 0..1 + random.below(3) {
            let place = random.below(file.len());
            match random.below(4) {
                0 => file[place] ^= 1 << random.below(8),
                1 => file[place] = random.below(256) as u8,
                2 => file[place] = 0xff,
                _ => {
                    file.remove(place);
                }
            }
        }
        let path = limited.files.path().join("changed.parquet");
        std::fs::write(&path, &file).unwrap();
        let sql =
            format!("BEGIN; SELECT pgcopy.load_parquet('{}', target => 't', parallel => 0); ROLLBACK", path.display());
        if client.batch_execute(&sql).is_err() && client.batch_execute("ROLLBACK").is_err() {
            limited.assert_sound(&format!("turn {turn}"));
            client = limited.session();
        }
    }
    limited.assert_sound("all turns");
}
