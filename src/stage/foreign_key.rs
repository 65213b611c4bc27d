use crate::error::{Error, Result};
use crate::local::catalog::{ForeignKey, Key};
use crate::local::{identity, names, types};
use crate::order::{ForeignKeyCheck, IntegerKeys, KeyColumn, KeyColumns, KeyEnd};
use pgrx::prelude::*;
use plan::Owner;
use std::collections::HashMap;

/// Decides how to check one foreign key, over the stage tables where there are and the tables themselves where not. The
/// comparison is the one of `RI_Initial_Check` in `ri_triggers.c`.
///
/// `targets` gives for each target its position in the job. `checks_new_references` tells whose fault a violation is.
///
/// # Errors
/// Functions of both tables' owners would have to compare the keys.
pub fn foreign_key_check(
    key: &ForeignKey,
    targets: &HashMap<u32, usize>,
    checks_new_references: bool,
    show_values: bool,
) -> Result<ForeignKeyCheck> {
    let owner = |role: u32| Owner { role, is_superuser: identity::is_superuser(role) };
    let owners = |roles: Vec<u32>| roles.into_iter().map(owner).collect::<Vec<_>>();
    let (referencing_owner, referenced_owner) = (owner(key.referencing_owner), owner(key.referenced_owner));
    let types = owners(key.keys.iter().flat_map(|pair| pair.type_owners.clone()).collect());
    let role_for = |functions: Vec<u32>| {
        plan::comparing_role(referencing_owner, referenced_owner, &owners(functions), &types).ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("cannot check foreign key constraint \"{}\" of table \"{}\"", key.name, key.referencing_name),
            )
            .detail(
                "Functions that compare its keys belong to the owners of both tables, and neither may run the other's.",
            )
        })
    };
    let end = |relations: Vec<u32>, columns: Vec<KeyColumn>| -> Result<KeyEnd> {
        let casts = columns.iter().filter_map(|column| types::cast_function(column.type_oid, column.compared_type));
        let converting_role = role_for(casts.filter_map(types::function_owner).collect())?;
        Ok(KeyEnd { relations, columns, converting_role })
    };
    let referencing = key.keys.iter().map(|pair| KeyColumn {
        name: pair.referencing.clone(),
        type_oid: pair.referencing_column_type,
        compared_type: pair.referencing_type,
        collation: pair.collation,
    });
    let referenced = key.keys.iter().map(|pair| KeyColumn {
        name: pair.referenced.clone(),
        type_oid: pair.referenced_column_type,
        compared_type: pair.referenced_type,
        collation: pair.collation,
    });
    let mut reads: Vec<usize> =
        key.referenced_leaves.iter().chain([&key.referencing]).filter_map(|oid| targets.get(oid).copied()).collect();
    reads.sort_unstable();
    reads.dedup();
    let (referencing_name, referenced_name) = (&key.referencing_name, &key.referenced_name);
    let (message, detail_rest, columns): (String, String, Vec<&str>) = if checks_new_references {
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
    Ok(ForeignKeyCheck {
        name: key.name.clone(),
        referencing_schema: names::schema_of(key.referencing).unwrap_or_default(),
        referencing_name: key.referencing_name.clone(),
        referencing: end(vec![key.referencing], referencing.collect())?,
        referenced: end(key.referenced_leaves.clone(), referenced.collect())?,
        comparing_role: role_for(key.keys.iter().map(|pair| pair.operator_owner).collect())?,
        match_full: key.match_full,
        is_there: is_there(key),
        integers: integer_keys(key),
        reads,
        message,
        detail_columns: columns.join(", "),
        detail_rest,
        show_values,
        by_leader: false,
        hint: None,
    })
}

/// Returns the condition for the key of a row `fk` to be among those of `referenced`.
fn is_there(key: &ForeignKey) -> String {
    let comparisons: Vec<_> =
        (1..).zip(&key.keys).map(|(number, pair)| format!("pk.k{number} {} fk.k{number}", pair.operator)).collect();
    let comparison = comparisons.join(" AND ");
    // The operator of periods finds those that overlap.
    if key.has_period {
        let period = key.keys.len();
        format!(
            "coalesce((SELECT fk.k{period} OPERATOR(pg_catalog.<@) pg_catalog.range_agg(pk.k{period}) \
             FROM referenced pk WHERE {comparison}), false)"
        )
    } else {
        format!("EXISTS (SELECT FROM referenced pk WHERE {comparison})")
    }
}

fn integer_keys(key: &ForeignKey) -> Option<IntegerKeys> {
    // Partitions may number their columns otherwise.
    let &[leaf] = key.referenced_leaves.as_slice() else { return None };
    if !key.keys.iter().all(|pair| pair.are_integers) || leaf != key.referenced {
        return None;
    }
    let numbers = |number: fn(&Key) -> i16| key.keys.iter().map(number).collect();
    Some(IntegerKeys {
        referencing: KeyColumns { relation: key.referencing, numbers: numbers(|pair| pair.referencing_number) },
        referenced: KeyColumns { relation: key.referenced, numbers: numbers(|pair| pair.referenced_number) },
        match_full: key.match_full,
    })
}
