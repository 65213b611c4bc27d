//! What ANALYZE is to know of a stage table, and where what it finds out goes.

use super::create::Stage;
use crate::compat;
use crate::error::Result;
use crate::job::{JobSpec, TableSpec};
use crate::local::spi::{Param, extension};
use crate::local::{settings, spi};
use pgrx::pg_sys;

/// Gives a stage table, and its `indexes`, the statistics targets and extended statistics of its target. Runs with the
/// rights of the extension.
pub(super) fn prepare(job: i64, table: &TableSpec, indexes: &[u32]) -> Result<()> {
    if table.column_options.is_empty() && table.extended_statistics.is_empty() {
        return Ok(());
    }
    settings::scoped(|| {
        settings::use_catalog_search_path()?;
        // Event triggers are for what users do.
        settings::set_local(c"session_replication_role", "replica")?;
        let heap = super::qualified_name(job, table.target);
        for column in &table.column_options {
            let altered = if column.relation == table.target {
                format!("TABLE {heap} ALTER COLUMN {}", plan::quote_identifier(&column.name))
            } else {
                let index = plan::qualified(super::SCHEMA, &JobSpec::stage_index_name(job, column.relation));
                format!("INDEX {index} ALTER COLUMN {}", column.number)
            };
            if let Some(target) = column.statistics {
                spi::execute(&format!("ALTER {altered} SET STATISTICS {target}"))?;
                if let Some(position) = table.indexes.iter().position(|index| index.oid == column.relation) {
                    // SAFETY: made by this transaction, which holds a lock on it.
                    unsafe { compat::note_statistics_target(indexes[position].into(), column.number, target) };
                }
            }
            if let Some(options) = &column.options {
                spi::execute(&format!("ALTER {altered} SET ({options})"))?;
            }
        }
        for statistics in &table.extended_statistics {
            let name = plan::qualified(super::SCHEMA, &JobSpec::stage_statistics_name(job, statistics.oid));
            spi::execute(&format!("CREATE STATISTICS {name} {} FROM {heap}", statistics.definition))?;
            if let Some(target) = statistics.statistics {
                spi::execute(&format!("ALTER STATISTICS {name} SET STATISTICS {target}"))?;
            }
        }
        Ok(())
    })
}

/// Gives the targets the column statistics of their stage tables. No reader need wait for that: it comes before the swap,
/// and before the locks that the swap takes.
pub fn take_over_statistics<'a>(job: i64, tables: impl Iterator<Item = (&'a TableSpec, &'a Stage)>) -> Result<()> {
    let (mut extended, mut virtuals) = (Vec::new(), Vec::new());
    for (table, stage) in tables {
        let expressions = table.indexes.iter().zip(&stage.indexes).filter(|(index, _)| index.has_expressions);
        let indexes = expressions.map(|(index, &stage_index)| (index.oid, stage_index));
        for (old, new) in [(table.target, stage.heap)].into_iter().chain(indexes) {
            // SAFETY: changes of catalog rows whose relations this transaction, or its job, has locked against others.
            unsafe {
                // The target's own describe the old rows.
                pg_sys::RemoveStatistics(old.into(), 0);
                pg_sys::CopyStatistics(new.into(), old.into());
            }
        }
        extended.extend(table.extended_statistics.iter().map(|statistics| statistics.oid));
        virtuals.extend(table.virtuals.iter().map(|column| (table.target, column.number)));
    }
    // SAFETY: between commands of our own transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    for (target, number) in virtuals {
        // SAFETY: as above. The stage table's columns are ordinary ones, of NULLs.
        unsafe { pg_sys::RemoveStatistics(target.into(), number) };
    }
    if extended.is_empty() {
        return Ok(());
    }
    extension::execute("DELETE FROM pg_statistic_ext_data WHERE stxoid = ANY ($1)", &[Param::OidArray(&extended)])?;
    extension::execute(
        "UPDATE pg_statistic_ext_data d SET stxoid = t.oid
         FROM unnest($2) t(oid)
         JOIN pg_statistic_ext s ON s.stxname = format('job_%s_statistics_%s', $1, t.oid)
                                AND s.stxnamespace = 'pgcopy_stage'::regnamespace
         WHERE d.stxoid = s.oid",
        &[Param::Int8(job), Param::OidArray(&extended)],
    )
}
