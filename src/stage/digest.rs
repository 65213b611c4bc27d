//! Digests of rows by a scan of our own. Nobody but its maker can name a stage table, and a query would run the code in the table's
//! indexes and statistics.

use crate::error::{Error, Result};
use crate::local::identity::{Role, run_as};
use crate::local::spi::Moment;
use crate::local::{encoding, interrupts, settings};
use pgrx::{PgList, pg_sys};

/// The number of rows, and the exact sum of their digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum {
    pub rows: i64,
    pub sum: i128,
}

/// Computes a digest, which an expression of type `bigint` over the columns stands for, of the newest rows in one of several equal
/// shares of a table. What has no storage of its own has no rows.
pub fn digest(relation: u32, owner: u32, expression: &str, share: usize, shares: usize) -> Result<RowSum> {
    run_as(Role::TableOwner(owner), || {
        settings::use_catalog_settings()?;
        settings::set_local(c"lc_monetary", "C")?;
        let moment = Moment::newest();
        // SAFETY: the relation stays locked until the end of the transaction; an ERROR closes it with the transaction.
        unsafe {
            let relation = pg_sys::table_open(relation.into(), pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let summed = if (*relation).rd_tableam.is_null() {
                Ok(RowSum::default())
            } else {
                add_up(relation, &moment, expression, share, shares)
            };
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            summed
        }
    })
}

/// # Safety
/// The relation is open, and has a table access method; where there is more than one share, that of heaps.
unsafe fn add_up(
    relation: pg_sys::Relation,
    moment: &Moment,
    expression: &str,
    share: usize,
    shares: usize,
) -> Result<RowSum> {
    const ROWS_BETWEEN_INTERRUPTS: i64 = 1000;
    // SAFETY: promised by the caller. The state and what is prepared with it live until it is freed here, or with the transaction;
    // the slot is made for the relation and released with the scan.
    unsafe {
        let state = pg_sys::CreateExecutorState();
        let context = pg_sys::MakePerTupleExprContext(state);
        let expression = pg_sys::ExecPrepareExpr(parse(relation, expression)?, state);
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        // Without the start in the middle that scans of one table agree on.
        let scan = pg_sys::table_beginscan_strat(relation, moment.snapshot(), 0, std::ptr::null_mut(), true, false);
        if shares > 1 {
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            let border = |share: usize| (u64::from(blocks) * share as u64 / shares as u64) as u32;
            let (first, end) = (border(share), border(share + 1));
            if first == end {
                pg_sys::table_endscan(scan);
                pg_sys::ExecDropSingleTupleTableSlot(slot);
                pg_sys::FreeExecutorState(state);
                return Ok(RowSum::default());
            }
            pg_sys::heap_setscanlimits(scan, first, end - first);
        }
        let mut summed = RowSum::default();
        (*context).ecxt_scantuple = slot;
        while pg_sys::table_scan_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
            summed.rows += 1;
            if summed.rows % ROWS_BETWEEN_INTERRUPTS == 0 {
                interrupts::check();
            }
            let mut is_null = false;
            let previous = pg_sys::MemoryContextSwitchTo((*context).ecxt_per_tuple_memory);
            let value = pg_sys::ExecEvalExpr(expression, context, &mut is_null);
            pg_sys::MemoryContextSwitchTo(previous);
            // The hash of a row's text is never NULL; if it were, the source's sum would leave it out, too.
            if !is_null {
                summed.sum += i128::from(value.value() as i64);
            }
            pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
        }
        pg_sys::table_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::FreeExecutorState(state);
        Ok(summed)
    }
}

/// Parses an expression over the columns of a relation, as those of CHECK constraints are.
///
/// # Safety
/// The relation is open.
unsafe fn parse(relation: pg_sys::Relation, expression: &str) -> Result<*mut pg_sys::Expr> {
    let text = encoding::to_database(expression)?;
    let lock = pg_sys::AccessShareLock as i32;
    // SAFETY: promised by the caller; fresh nodes in the current context. The text is one expression, which the parser gives back as
    // the only column of a SELECT.
    unsafe {
        let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let statement = PgList::<pg_sys::RawStmt>::from_pg(parsed).get_ptr(0);
        let select = statement.map(|statement| (*statement).stmt.cast::<pg_sys::SelectStmt>());
        let column = select.and_then(|select| PgList::<pg_sys::ResTarget>::from_pg((*select).targetList).get_ptr(0));
        let column = column.ok_or_else(|| Error::internal("a digest is no expression"))?;
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let item = pg_sys::addRangeTableEntryForRelation(state, relation, lock, std::ptr::null_mut(), false, true);
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let node = pg_sys::transformExpr(state, (*column).val, pg_sys::ParseExprKind::EXPR_KIND_OTHER);
        if pg_sys::exprType(node) != pg_sys::INT8OID {
            return Err(Error::internal("a digest is no bigint"));
        }
        pg_sys::assign_expr_collations(state, node);
        pg_sys::free_parsestate(state);
        Ok(node.cast())
    }
}
