//! Whether this server's own tables are sound: pages, indexes and constraints.

use super::summary::in_role;
use crate::error::{Error, Result, catch, sqlstate_class};
use crate::local::locks::{Mode, lock_relation};
use crate::local::spi::{self, Moment, Param};
use crate::local::{catalog, identity, names, rights, settings, transaction};
use crate::order::{Amcheck, CheckKind, LocalCheck, LocalInput, TableSpec};
use crate::stage;
use pgrx::prelude::*;
use plan::Part;
use serde::Deserialize;
use std::collections::HashMap;

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    /// The index, constraint or column that it is about.
    pub object: Option<String>,
    pub finding: String,
    pub place: Option<String>,
}

/// What one check found.
#[derive(Debug, Default)]
pub struct Checked {
    pub findings: Vec<Finding>,
    /// The number of rows, where they were counted.
    pub rows: u64,
}

/// Checks one thing of a table. Nothing of the check is left behind, locks included: a table can be changed, or dropped, between two
/// checks of it, and what is gone by then has no fault. `memory` is in kilobytes.
///
/// # Errors
/// Those that say nothing of the table: a cancel, a lack of memory, a lock that was not granted in time.
pub fn check(input: &LocalInput, table: &TableSpec, check: &LocalCheck, memory: i64) -> Result<Checked> {
    let checked = transaction::in_subtransaction(|| {
        catch(|| {
            settings::set_local(c"lock_timeout", &input.lock_timeout)?;
            settings::set_local(c"maintenance_work_mem", &memory.to_string())?;
            lock_relation(table.target, Mode::AccessShare);
            if names::relation_in(&table.schema, &table.name)? != Some(table.target) {
                return Ok(Checked::default());
            }
            Checking { input, table, memory }.run(&check.kind)
        })
    });
    let error = match checked {
        Ok(checked) => return Ok(checked),
        Err(error) => error,
    };
    let (kind, object) = match &check.kind {
        CheckKind::Heap { is_toast: false, .. } => ("heap", None),
        CheckKind::Heap { is_toast: true, .. } => ("toast", None),
        CheckKind::Index { name, .. } | CheckKind::Gin { name, .. } => ("index", Some(name.clone())),
        CheckKind::Rows => ("rows", None),
        CheckKind::ForeignKey { name, .. } => ("foreign key", Some(name.clone())),
    };
    match &sqlstate_class(error.sqlstate) {
        // Damage, and files that cannot be read.
        b"XX" | b"58" => {
            let finding = Finding { kind, object, finding: error.message, place: error.detail };
            Ok(Checked { findings: vec![finding], rows: 0 })
        }
        b"40" | b"53" | b"57" => Err(error),
        _ if error.sqlstate == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE as i32 => Err(error),
        // Functions of users can do anything.
        _ => {
            let finding = format!("could not be checked: {}", error.message);
            let finding = Finding { kind, object, finding, place: error.detail };
            Ok(Checked { findings: vec![finding], rows: 0 })
        }
    }
}

struct Checking<'a> {
    input: &'a LocalInput,
    table: &'a TableSpec,
    memory: i64,
}

#[derive(Deserialize)]
struct IndexDetails {
    is_unique: bool,
    /// Whether GROUP BY takes those values for equal that the index does.
    groups_alike: bool,
    nulls_differ: bool,
    key: Vec<String>,
    predicate: Option<String>,
}

#[derive(Deserialize)]
struct RowCondition {
    kind: String,
    name: Option<String>,
    /// A condition that holds for a row which violates it.
    violated: String,
}

impl Checking<'_> {
    fn run(&self, kind: &CheckKind) -> Result<Checked> {
        match kind {
            CheckKind::Heap { relation, is_toast, part } => {
                let Some(amcheck) = &self.input.amcheck else { return Ok(Checked::default()) };
                self.heap(amcheck, *relation, *is_toast, *part)
            }
            CheckKind::Index { oid, name } => self.index(*oid, name),
            CheckKind::Gin { oid, .. } => self.gin(*oid),
            CheckKind::Rows => self.rows(),
            CheckKind::ForeignKey { oid, name } => self.foreign_key(*oid, name),
        }
    }

    /// Pages of the table, or of its TOAST table, by verify_heapam.
    fn heap(&self, amcheck: &Amcheck, relation: u32, is_toast: bool, part: Part) -> Result<Checked> {
        /// Block, line pointer, column and message.
        type Fault = (Option<i64>, Option<i32>, Option<String>, Option<String>);
        // The table has not shrunk since: that takes a lock that no other lock stands beside.
        let pages: i64 = spi::query_json(&format!(
            "SELECT coalesce(pg_relation_size(CAST({relation} AS oid)) / current_setting('block_size')::bigint, 0)::text"
        ))?;
        let first = i64::from(part.first_page);
        if first >= pages {
            return Ok(Checked::default());
        }
        let last = part.end_page.map_or(pages, |end| i64::from(end).min(pages)) - 1;
        let faults: Vec<Fault> = spi::query_json(&format!(
            "SELECT coalesce(json_agg(json_build_array(v.blkno, v.offnum, quote_ident(a.attname), v.msg)), '[]'::json)::text
             FROM (SELECT * FROM {}.verify_heapam(CAST({relation} AS oid)::regclass, false, true, 'none'::text, {first}::bigint, {last}::bigint)
                   LIMIT {}) v
             LEFT JOIN pg_attribute a ON a.attrelid = CAST({relation} AS oid) AND a.attnum = v.attnum + 1",
            amcheck.schema,
            self.input.most + 1
        ))?;
        let kind = if is_toast { "toast" } else { "heap" };
        let is_more = faults.len() > self.input.most;
        let mut findings: Vec<Finding> = faults
            .into_iter()
            .take(self.input.most)
            .map(|(block, pointer, column, message)| {
                let place = [
                    block.map(|block| format!("block {block}")),
                    pointer.map(|pointer| format!("line pointer {pointer}")),
                    column.map(|column| format!("column {column}")),
                ];
                let place = place.into_iter().flatten().collect::<Vec<_>>().join(", ");
                Finding {
                    kind,
                    object: None,
                    finding: plan::one_line(&message.unwrap_or_default()),
                    place: (!place.is_empty()).then_some(place),
                }
            })
            .collect();
        if is_more {
            let (finding, place) = ("there is more".to_owned(), Some(format!("blocks {first} to {last}")));
            findings.push(Finding { kind, object: None, finding, place });
        }
        Ok(Checked { findings, rows: 0 })
    }

    /// A B-tree, its order and whether it has an entry for each row, by bt_index_check; and duplicates, where that does not look for
    /// them.
    fn index(&self, oid: u32, name: &str) -> Result<Checked> {
        let index: Option<IndexDetails> = spi::fixed::query_json(
            include_str!("../../sql/queries/checked_index.sql"),
            &[Param::Oid(oid), Param::Oid(self.table.target)],
        )?;
        let Some(index) = index else { return Ok(Checked::default()) };
        if let Some(amcheck) = &self.input.amcheck {
            let (function, tree) =
                if amcheck.keeps_writers_out { ("bt_index_parent_check", ", true") } else { ("bt_index_check", "") };
            let duplicates = if amcheck.finds_duplicates { format!(", {}", index.is_unique) } else { String::new() };
            let schema = &amcheck.schema;
            spi::execute(&format!("SELECT {schema}.{function}(CAST({oid} AS oid)::regclass, true{tree}{duplicates})"))?;
        }
        let are_found = self.input.amcheck.as_ref().is_some_and(|amcheck| amcheck.finds_duplicates);
        if are_found || !index.groups_alike || !self.input.checks_rows {
            return Ok(Checked::default());
        }
        self.duplicates(&index, name)
    }

    fn gin(&self, oid: u32) -> Result<Checked> {
        if let Some(amcheck) = &self.input.amcheck {
            // It may have been dropped since.
            spi::execute(&format!(
                "SELECT {}.gin_index_check(c.oid::regclass) FROM pg_class c WHERE c.oid = CAST({oid} AS oid)",
                amcheck.schema
            ))?;
        }
        Ok(Checked::default())
    }

    /// Keys of a unique index that several rows have, found without the index.
    fn duplicates(&self, index: &IndexDetails, name: &str) -> Result<Checked> {
        let columns: Vec<String> =
            index.key.iter().enumerate().map(|(number, key)| format!("{key} AS k{number}")).collect();
        let keys: Vec<String> = (0..index.key.len()).map(|number| format!("k{number}")).collect();
        let keys = keys.join(", ");
        let predicate = index.predicate.as_ref().map_or_else(String::new, |predicate| format!(" WHERE {predicate}"));
        let nulls = if index.nulls_differ { format!("WHERE num_nulls({keys}) = 0 ") } else { String::new() };
        let repeated = |select: &str| {
            format!(
                "SELECT {select} FROM (SELECT ctid AS place, {} FROM {}{predicate}) r {nulls}GROUP BY {keys} HAVING count(*) > 1",
                columns.join(", "),
                self.from()
            )
        };
        let most = self.input.most;
        self.as_owner(|moment| {
            for method in [c"enable_indexscan", c"enable_indexonlyscan", c"enable_bitmapscan"] {
                settings::set_local(method, "off")?;
            }
            let count: u64 = query(moment, &format!("SELECT count(*)::text FROM ({}) d", repeated("1")))?;
            if count == 0 {
                return Ok(Checked::default());
            }
            let found: Vec<(String, Vec<String>)> = query(
                moment,
                &format!(
                    "SELECT json_agg(json_build_array(d.key, d.places))::text
                     FROM ({} LIMIT {most}) d",
                    repeated(&format!("ROW({keys})::text AS key, (array_agg(place::text))[1:{most}] AS places"))
                ),
            )?;
            let mut findings: Vec<Finding> = found
                .into_iter()
                .map(|(key, places)| Finding {
                    kind: "unique",
                    object: Some(name.to_owned()),
                    finding: format!("several rows have the key {}", shortened(&key)),
                    place: Some(format!("rows at {}", places.join(", "))),
                })
                .collect();
            if count > most as u64 {
                let finding = format!("{} more keys are repeated", count - most as u64);
                findings.push(Finding { kind: "unique", object: Some(name.to_owned()), finding, place: None });
            }
            Ok(Checked { findings, rows: 0 })
        })
    }

    /// NOT NULL, CHECK and the bounds of a partition, in one scan for a hundred of them.
    fn rows(&self) -> Result<Checked> {
        const AT_ONCE: usize = 100;
        let conditions: Vec<RowCondition> = spi::fixed::query_json(
            include_str!("../../sql/queries/row_conditions.sql"),
            &[Param::Oid(self.table.target)],
        )?;
        let mut checked = Checked::default();
        let most = self.input.most;
        self.as_owner(|moment| {
            for conditions in conditions.chunks(AT_ONCE) {
                let counts: Vec<String> =
                    conditions.iter().map(|it| format!("count(*) FILTER (WHERE {})", it.violated)).collect();
                let counts: Vec<u64> = query(
                    moment,
                    &format!("SELECT to_json(ARRAY[count(*), {}])::text FROM {}", counts.join(", "), self.from()),
                )?;
                checked.rows = counts.first().copied().unwrap_or_default();
                for (condition, &count) in conditions.iter().zip(counts.iter().skip(1)).filter(|(_, count)| **count > 0)
                {
                    let places: Vec<String> = query(
                        moment,
                        &format!(
                            "SELECT coalesce(json_agg(r.place), '[]'::json)::text
                             FROM (SELECT ctid::text AS place FROM {} WHERE {} LIMIT {most}) r",
                            self.from(),
                            condition.violated
                        ),
                    )?;
                    checked.findings.push(condition.finding(count, &places));
                }
            }
            Ok(())
        })?;
        Ok(checked)
    }

    fn foreign_key(&self, oid: u32, name: &str) -> Result<Checked> {
        let keys = catalog::read_foreign_keys(&[self.table.target])?;
        let Some(key) = keys.into_iter().find(|key| key.oid == oid && key.referencing == self.table.target) else {
            return Ok(Checked::default());
        };
        self.refuse_unreadable(&[self.table.target, key.referenced])?;
        let check = stage::foreign_key_check(&key, &HashMap::new(), true, true)?;
        let memory = usize::try_from(self.memory).unwrap_or(0).saturating_mul(1024);
        let held = identity::with_definitions_kept(|| stage::check_foreign_keys(&[&check], |_| None, memory));
        match held {
            Ok(()) => Ok(Checked::default()),
            Err(error) if error.sqlstate == PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION as i32 => {
                let finding = Finding {
                    kind: "foreign key",
                    object: Some(name.to_owned()),
                    finding: format!("a row has no counterpart in table \"{}\"", key.referenced_name),
                    place: error.detail,
                };
                Ok(Checked { findings: vec![finding], rows: 0 })
            }
            Err(error) => Err(error),
        }
    }

    fn from(&self) -> String {
        format!("ONLY {}", self.table.qualified_name())
    }

    /// Runs queries over the table as its present owner, in one moment: what the caller's transaction began with may be older than
    /// the constraints.
    fn as_owner<T>(&self, work: impl FnOnce(&Moment) -> Result<T>) -> Result<T> {
        self.refuse_unreadable(&[self.table.target])?;
        let owners = catalog::read_owners(&[self.table.target])?;
        let &(_, owner) = owners.first().ok_or_else(|| Error::internal("a locked table has no owner"))?;
        let moment = Moment::newest();
        in_role(owner, || {
            settings::set_local(c"constraint_exclusion", "off")?;
            work(&moment)
        })
    }

    /// The rights are those that the caller has now.
    fn refuse_unreadable(&self, tables: &[u32]) -> Result<()> {
        match rights::unreadable(tables)?.into_iter().next() {
            None => Ok(()),
            Some(table) => Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, table.reason)),
        }
    }
}

impl RowCondition {
    fn finding(&self, count: u64, places: &[String]) -> Finding {
        let rows = if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        let (kind, finding) = match self.kind.as_str() {
            "not null" => ("not null", format!("NULL in {rows}")),
            "partition" => ("partition", format!("{rows} outside of the partition's bounds")),
            _ => ("check", format!("{rows} violate{} it", if count == 1 { "s" } else { "" })),
        };
        let more = if count > places.len() as u64 { " and more" } else { "" };
        let places = format!("row{} at {}{more}", if count == 1 { "" } else { "s" }, places.join(", "));
        Finding { kind, object: self.name.clone(), finding, place: Some(places) }
    }
}

fn query<T: serde::de::DeserializeOwned>(moment: &Moment, sql: &str) -> Result<T> {
    let text = moment.query_text(sql)?.unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| Error::internal(format!("unexpected answer of a check: {error}")))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    plan::one_line(&crate::error::capped(text, LONGEST))
}
