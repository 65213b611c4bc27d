use super::KeyColumns;
use crate::job::{ForeignKeyCheck, IntegerKeys};
use crate::local::catalog::{ForeignKey, Key};
use std::collections::HashMap;

/// Words the check of one foreign key as one anti-join, over the stage tables where there are and the tables
/// themselves where not. The comparison is the one of `RI_Initial_Check` in `ri_triggers.c`.
///
/// `targets` gives for each target its position in the job.
pub fn foreign_key_check(
    job: i64,
    key: &ForeignKey,
    targets: &HashMap<u32, usize>,
    show_values: bool,
) -> ForeignKeyCheck {
    let rows_of = |oid: u32, schema: &str, name: &str| {
        if targets.contains_key(&oid) { super::qualified_name(job, oid) } else { plan::qualified(schema, name) }
    };
    let referencing = rows_of(key.referencing, &key.referencing_schema, &key.referencing_name);
    let referenced_columns =
        key.keys.iter().map(|pair| plan::quote_identifier(&pair.referenced)).collect::<Vec<_>>().join(", ");
    let referenced = match key.referenced_leaves.as_slice() {
        [] => format!(
            "(SELECT {referenced_columns} FROM ONLY {} WHERE false)",
            rows_of(key.referenced, &key.referenced_schema, &key.referenced_name)
        ),
        [leaf] => format!("ONLY {}", rows_of(leaf.oid, &leaf.schema, &leaf.name)),
        leaves => {
            let branches: Vec<_> = leaves
                .iter()
                .map(|leaf| {
                    format!("SELECT {referenced_columns} FROM ONLY {}", rows_of(leaf.oid, &leaf.schema, &leaf.name))
                })
                .collect();
            format!("({})", branches.join(" UNION ALL "))
        }
    };
    let comparison = key.keys.iter().map(compare).collect::<Vec<_>>().join(" AND ");
    // The operator of periods finds those that overlap.
    let is_there = match key.keys.last().filter(|_| key.has_period) {
        Some(period) => format!(
            "coalesce((SELECT fk.{} OPERATOR(pg_catalog.<@) pg_catalog.range_agg(pk.{}) \
             FROM {referenced} pk WHERE {comparison}), false)",
            plan::quote_identifier(&period.referencing),
            plan::quote_identifier(&period.referenced)
        ),
        None => format!("EXISTS (SELECT FROM {referenced} pk WHERE {comparison})"),
    };
    let column = |pair: &Key| format!("fk.{}", plan::quote_identifier(&pair.referencing));
    let any = |condition: &str, operator: &str| {
        key.keys.iter().map(|pair| format!("{} {condition}", column(pair))).collect::<Vec<_>>().join(operator)
    };
    // MATCH SIMPLE lets a row pass that has any NULL, MATCH FULL only one that has nothing else.
    let concerned = if key.match_full { any("IS NOT NULL", " OR ") } else { any("IS NOT NULL", " AND ") };
    let values =
        key.keys.iter().map(|pair| format!("{}::pg_catalog.text", column(pair))).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT pg_catalog.json_build_array({values})::pg_catalog.text FROM ONLY {referencing} fk \
         WHERE ({concerned}) AND NOT {is_there} LIMIT 1"
    );
    let mut reads: Vec<usize> = key
        .referenced_leaves
        .iter()
        .map(|leaf| leaf.oid)
        .chain([key.referencing])
        .filter_map(|oid| targets.get(&oid).copied())
        .collect();
    reads.sort_unstable();
    reads.dedup();
    let (referencing_name, referenced_name) = (&key.referencing_name, &key.referenced_name);
    let (message, detail_rest, columns): (String, String, Vec<&str>) = if targets.contains_key(&key.referencing) {
        (
            format!(
                "insert or update on table \"{referencing_name}\" violates foreign key constraint \"{}\"",
                key.name
            ),
            format!("is not present in table \"{referenced_name}\"."),
            key.keys.iter().map(|pair| pair.referencing.as_str()).collect(),
        )
    } else {
        (
            format!(
                "update or delete on table \"{referenced_name}\" violates foreign key constraint \"{}\" on table \"{referencing_name}\"",
                key.name
            ),
            format!("is still referenced from table \"{referencing_name}\"."),
            key.keys.iter().map(|pair| pair.referenced.as_str()).collect(),
        )
    };
    ForeignKeyCheck {
        name: key.name.clone(),
        owner: key.referencing_owner,
        query,
        integers: integer_keys(key),
        reads,
        message,
        detail_columns: columns.join(", "),
        detail_rest,
        show_values,
    }
}

fn integer_keys(key: &ForeignKey) -> Option<IntegerKeys> {
    // Partitions may number their columns otherwise.
    let [leaf] = key.referenced_leaves.as_slice() else { return None };
    if !key.keys.iter().all(|pair| pair.are_integers) || leaf.oid != key.referenced {
        return None;
    }
    let numbers = |number: fn(&Key) -> i16| key.keys.iter().map(number).collect();
    Some(IntegerKeys {
        referencing: KeyColumns { relation: key.referencing, numbers: numbers(|pair| pair.referencing_number) },
        referenced: KeyColumns { relation: key.referenced, numbers: numbers(|pair| pair.referenced_number) },
        match_full: key.match_full,
    })
}

fn compare(pair: &Key) -> String {
    let side = |alias: &str, column: &str, cast: &Option<String>| {
        let cast = cast.as_ref().map_or(String::new(), |cast| format!("::{cast}"));
        format!("{alias}.{}{cast}", plan::quote_identifier(column))
    };
    let collation = pair.collation.as_ref().map_or(String::new(), |name| format!(" COLLATE {name}"));
    format!(
        "{} {} {}{collation}",
        side("pk", &pair.referenced, &pair.referenced_cast),
        pair.operator,
        side("fk", &pair.referencing, &pair.referencing_cast)
    )
}
