use crate::error::Result;
use crate::local::encoding;
use crate::local::identity::{Role, run_as};
use pgrx::pg_sys;

/// Computes the statistics that the target takes over in the swap: of the given columns, or of all if none is given.
///
/// Expressions of indexes and statistics, and the functions that compare values, are the table's owner's code.
pub fn analyze(stage: u32, owner: u32, columns: &[&str]) -> Result<()> {
    run_as(Role::TableOwner(owner), || {
        // SAFETY: the lists and nodes are palloc'd here, outlive the call and are only read. As `vacuum` calls it for a
        // command in a transaction; the relation's name is for messages.
        unsafe {
            let mut names = std::ptr::null_mut();
            for column in columns {
                let name = encoding::to_database(column)?;
                names = pg_sys::lappend(names, pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())).cast());
            }
            let relation = pg_sys::makeRangeVar(std::ptr::null_mut(), pg_sys::get_rel_name(stage.into()), -1);
            let mut parameters = pg_sys::VacuumParams {
                options: pg_sys::VACOPT_ANALYZE,
                freeze_min_age: -1,
                freeze_table_age: -1,
                multixact_freeze_min_age: -1,
                multixact_freeze_table_age: -1,
                log_min_duration: -1,
                ..Default::default()
            };
            let ring = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM);
            pg_sys::analyze_rel(stage.into(), relation, &mut parameters, names, true, ring);
            pg_sys::FreeAccessStrategy(ring);
        }
        Ok(())
    })
}
