//! The tables of a random history, the same on both sides.

/// How the histories treat a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Pulled and emptied only together with the others of its class, and never written here otherwise: a reader finds the
    /// same version in all of them.
    Ledger,
    Ordinary,
    /// Emptied so often that pulls without `overwrite` can succeed, and renamed.
    Inbox,
}

pub struct Table {
    pub name: &'static str,
    pub class: Class,
    /// More columns than all tables have.
    pub more: &'static str,
    /// Their names.
    pub more_names: &'static [&'static str],
    /// What follows the columns.
    pub suffix: &'static str,
    pub key: bool,
    /// Where the rows are, by the names that a pull reports.
    pub leaves: &'static [&'static str],
    pub source_rows: u32,
}

/// Each row says who wrote it last and, on the source, in which version. Row 0 has the source's newest version.
const COMMON: &str = "id int, origin text NOT NULL, version bigint NOT NULL, v int NOT NULL, payload text,
    g bigint GENERATED ALWAYS AS (v::bigint * 2 + length(payload)) STORED";

const ORDINARY: Table = Table {
    name: "",
    class: Class::Ordinary,
    more: "",
    more_names: &[],
    suffix: "",
    key: true,
    leaves: &[],
    source_rows: 200,
};

pub const TABLES: [Table; 11] = [
    Table { name: "ledger_a", class: Class::Ledger, leaves: &["ledger_a"], ..ORDINARY },
    Table {
        name: "ledger_b",
        class: Class::Ledger,
        more: ", account int REFERENCES ledger_a",
        more_names: &["account"],
        leaves: &["ledger_b"],
        ..ORDINARY
    },
    Table { name: "ledger_c", class: Class::Ledger, leaves: &["ledger_c"], ..ORDINARY },
    Table { name: "item", leaves: &["item"], ..ORDINARY },
    Table { name: "tag", more: ", item int REFERENCES item", more_names: &["item"], leaves: &["tag"], ..ORDINARY },
    Table {
        name: "node",
        more: ", parent int REFERENCES node",
        more_names: &["parent"],
        leaves: &["node"],
        ..ORDINARY
    },
    Table { name: "part", suffix: " PARTITION BY RANGE (id)", leaves: &["part_1", "part_2"], ..ORDINARY },
    Table {
        name: "doc",
        more: ", item int, amount numeric(12,2), document jsonb, mark uuid, list int[], big text",
        more_names: &["item", "amount", "document", "mark", "list", "big"],
        leaves: &["doc"],
        source_rows: 1200,
        ..ORDINARY
    },
    Table { name: "plain", more: ", item int", more_names: &["item"], key: false, leaves: &["plain"], ..ORDINARY },
    Table { name: "inbox_1", class: Class::Inbox, leaves: &["inbox_1"], source_rows: 60, ..ORDINARY },
    Table { name: "inbox_2", class: Class::Inbox, leaves: &["inbox_2"], source_rows: 60, ..ORDINARY },
];

pub const PARTITION_BOUND: u32 = 100;

/// Rows of `item` up to this number are never deleted on the source.
pub const LASTING: u32 = 50;

impl Table {
    pub fn number(name: &str) -> usize {
        TABLES.iter().position(|table| table.name == name).expect("a table of the histories")
    }

    pub fn has_item(&self) -> bool {
        self.more_names.contains(&"item")
    }

    fn create(&self) -> String {
        let key = if self.key { ", PRIMARY KEY (id)" } else { "" };
        let mut sql = format!("CREATE TABLE {} ({COMMON}{}{key}){};\n", self.name, self.more, self.suffix);
        if let [first, second] = self.leaves {
            sql += &format!(
                "CREATE TABLE {first} PARTITION OF {0} FOR VALUES FROM (MINVALUE) TO ({PARTITION_BOUND});
                 CREATE TABLE {second} PARTITION OF {0} FOR VALUES FROM ({PARTITION_BOUND}) TO (MAXVALUE);\n",
                self.name
            );
        }
        sql
    }

    /// A number over the columns that the model knows, which are not those that sessions add.
    pub fn hash(&self, row: &str) -> String {
        let names = ["id", "origin", "version", "v", "payload", "g"].iter().chain(self.more_names);
        let columns: Vec<String> = names.map(|name| format!("{row}.{name}")).collect();
        format!("('x' || substr(md5(ROW({})::text), 1, 15))::bit(60)::bigint", columns.join(", "))
    }

    /// Columns and values of new rows, numbered `i`; `origin` and `version` are SQL.
    pub fn new_rows(&self, origin: &str, version: &str, series: &str) -> String {
        let mut columns = "id, origin, version, v, payload".to_owned();
        let mut values =
            format!("i, {origin}, {version}, i % 1000, CASE WHEN i % 13 > 0 THEN repeat(md5(i::text), 1 + i % 3) END");
        let all: &[(&str, &str)] = &[
            ("account", "1 + i % 50"),
            ("item", "CASE WHEN i % 3 > 0 THEN 1 + i % 50 END"),
            ("parent", "CASE WHEN i > 0 THEN i % 10 END"),
            ("amount", "(i * 1.25)::numeric(12,2)"),
            ("document", "jsonb_build_object('i', i, 'list', ARRAY[i, NULL, i + 1])"),
            ("mark", "md5(i::text)::uuid"),
            ("list", "ARRAY[i, NULL, i * 2]"),
            (
                "big",
                "CASE WHEN i % 40 = 1 THEN (SELECT string_agg(md5(i || ' ' || k), '') FROM generate_series(1, 200) k) END",
            ),
        ];
        for (name, value) in all.iter().filter(|(name, _)| self.more_names.contains(name)) {
            columns += &format!(", {name}");
            values += &format!(", {value}");
        }
        format!("INSERT INTO {} ({columns}) SELECT {values} FROM {series} i", self.name)
    }
}

pub fn create_all() -> String {
    TABLES.iter().map(Table::create).collect::<String>() + "CREATE SCHEMA soak;"
}
