//! Values of files that are as long as the longest of PostgreSQL's own, or longer: nothing of them is taken for another
//! value.

use crate::harness::{Failure, Pair, text};
use std::process::Command;

const WRITE: &str = "
import sys, pyarrow, pyarrow.parquet
directory, length = sys.argv[1], int(sys.argv[2])
table = pyarrow.table({
    'id': pyarrow.array([1, 2], pyarrow.int32()),
    'body': pyarrow.array([b'x', b'A' * length], pyarrow.binary()),
    'tail': pyarrow.array([1, 2], pyarrow.int32()),
})
pyarrow.parquet.write_table(table, f'{directory}/{length}.parquet', compression='zstd', use_dictionary=False, write_statistics=False)
";

#[test]
fn values_of_a_gigabyte() {
    let (mut pair, directory) = Pair::with_files("huge_values");
    pair.destination
        .batch_execute("CREATE TABLE item (id int, body bytea, tail int); INSERT INTO item VALUES (0, 'old', 0)")
        .unwrap();
    let before = pair.destination_state();
    for length in [(1u64 << 30) - 5, (1 << 30) + 96] {
        let written = Command::new(std::env::var("PGCOPY_TEST_PYTHON").unwrap())
            .args(["-c", WRITE])
            .arg(directory.path())
            .arg(length.to_string())
            .output()
            .unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let path = directory.path().join(format!("{length}.parquet"));
        let path = path.display();
        for statement in [
            format!("SELECT pgcopy.load_parquet('{path}', target => 'item', overwrite => true, parallel => 0)"),
            format!("SELECT pgcopy.load_parquet('{path}', target => 'item', overwrite => true, parallel => 1)"),
            format!("COPY item FROM '{path}' WITH (FORMAT parquet)"),
        ] {
            let failure = Failure::of(&pair.destination.batch_execute(&statement).unwrap_err());
            assert_eq!(failure.sqlstate, "54000", "{statement}: {failure:?}");
        }
        assert_eq!(text(&mut pair.destination, "SELECT string_agg(i::text, ' ') FROM item i"), "(0,\"\\\\x6f6c64\",0)");
    }
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}
