//! B-tree indexes over columns of fixed width, built without the server's generic sort.
//!
//! Keys are packed into integers together with the rows' places, sorted as integers, and written as finished pages.
//! Everything else, from the rights under which it happens to `pg_class`, stays with the server's `index_build`, whose
//! call of the access method is answered here.

mod build;
mod packing;
mod pages;
mod sort;

use super::key_scan::{KeyPart, Order};
use crate::local::{parameters, relation};
use packing::KeyColumn;
use pgrx::pg_sys;
use pgrx::prelude::*;

/// While this value lives, our build replaces that of the access method for one index that it can build.
pub struct BuildByKeys {
    index: pg_sys::Relation,
    original: *mut pg_sys::IndexAmRoutine,
    /// A copy of the original with another build function; at a stable address.
    _routine: Option<Box<pg_sys::IndexAmRoutine>>,
}

impl BuildByKeys {
    /// # Safety
    /// `index` is an open index on a complete stage table, and `info` describes it.
    pub unsafe fn install(index: pg_sys::Relation, info: *const pg_sys::IndexInfo) -> Self {
        // SAFETY: promised by the caller; the copy stays where it is until `drop` has put the original back.
        unsafe {
            let original = (*index).rd_indam;
            let columns = columns(index, info).filter(|_| parameters::own_storage());
            let routine = columns.map(|_| {
                let mut routine = Box::new(*original);
                routine.ambuild = Some(answer_build);
                (*index).rd_indam = &mut *routine;
                routine
            });
            Self { index, original, _routine: routine }
        }
    }
}

impl Drop for BuildByKeys {
    fn drop(&mut self) {
        // SAFETY: the caller of `install` keeps the index open for longer; on an ERROR the relation cache's entry is
        // still there, as the transaction has not ended yet.
        unsafe { (*self.index).rd_indam = self.original };
    }
}

/// Returns the key's columns, or `None` for an index that is not made of columns of known, fixed width.
unsafe fn columns(index: pg_sys::Relation, info: *const pg_sys::IndexInfo) -> Option<Vec<KeyColumn>> {
    // OIDs of operator families (`pg_opfamily`) of B-trees. Their own types sort as the numbers behind the values do; a
    // type that an extension or a user has added to such a family may sort in any order.
    const BOOL_OPS: u32 = 424;
    const CHAR_OPS: u32 = 429;
    const DATETIME_OPS: u32 = 434;
    const INTEGER_OPS: u32 = 1976;
    const OID_OPS: u32 = 1989;
    const TIME_OPS: u32 = 1996;
    const MONEY_OPS: u32 = 2099;
    const UUID_OPS: u32 = 2968;
    // SAFETY: promised by the caller; the arrays have an element for each key column.
    unsafe {
        let count = (*info).ii_NumIndexAttrs as usize;
        if (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID
            || (*info).ii_NumIndexKeyAttrs as usize != count
            || !(*info).ii_Expressions.is_null()
            || !(*info).ii_Predicate.is_null()
            || !(*info).ii_ExclusionOps.is_null()
        {
            return None;
        }
        let mut columns = Vec::with_capacity(count);
        for (position, description) in relation::attributes((*index).rd_att).iter().enumerate() {
            let number = (*info).ii_IndexAttrNumbers[position];
            let attribute = usize::try_from(number).ok()?.checked_sub(1)?;
            let layout = description.layout;
            let width = usize::try_from(layout.length).ok()?;
            let family = (*(*index).rd_opfamily.add(position)).to_u32();
            let (order, compared_width) = match (family, *(*index).rd_opcintype.add(position)) {
                (INTEGER_OPS, pg_sys::INT2OID) => (Order::Signed, 2),
                (INTEGER_OPS, pg_sys::INT4OID) | (DATETIME_OPS, pg_sys::DATEOID) => (Order::Signed, 4),
                (INTEGER_OPS, pg_sys::INT8OID)
                | (DATETIME_OPS, pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID)
                | (TIME_OPS, pg_sys::TIMEOID)
                | (MONEY_OPS, pg_sys::MONEYOID) => (Order::Signed, 8),
                (BOOL_OPS, pg_sys::BOOLOID) | (CHAR_OPS, pg_sys::CHAROID) => (Order::Unsigned, 1),
                (OID_OPS, pg_sys::OIDOID) => (Order::Unsigned, 4),
                (UUID_OPS, pg_sys::UUIDOID) => (Order::Bytes, 16),
                _ => return None,
            };
            if width != compared_width {
                return None;
            }
            let parts = (0..width.div_ceil(8))
                .map(|part| KeyPart { attribute, offset: part * 8, width: width.min(8), order })
                .collect();
            let options = i32::from(*(*index).rd_indoption.add(position));
            columns.push(KeyColumn {
                parts,
                layout,
                descending: options & pg_sys::INDOPTION_DESC as i32 != 0,
                nulls_first: options & pg_sys::INDOPTION_NULLS_FIRST as i32 != 0,
            });
        }
        let parts: usize = columns.iter().map(|column| column.parts.len()).sum();
        (parts <= super::key_scan::MOST_PARTS).then_some(columns)
    }
}

/// Builds the index in the place of the access method's `ambuild`.
#[pg_guard]
unsafe extern "C-unwind" fn answer_build(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the server's own arguments; the function is only called where `columns` found some.
    unsafe {
        let columns = columns(index, info).expect("checked when the function was installed");
        let rows = build::build(heap, index, &*info, &columns);
        let result = pg_sys::palloc0(size_of::<pg_sys::IndexBuildResult>()).cast::<pg_sys::IndexBuildResult>();
        (*result).heap_tuples = rows as f64;
        (*result).index_tuples = rows as f64;
        result
    }
}
