//! Descriptors and the catalogs.

use pgrx::pg_sys;

/// # Safety
/// `position` is within the descriptor.
#[cfg(not(since_18))]
pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller.
    unsafe { (*descriptor).attrs.as_ptr().add(position) }
}

/// # Safety
/// `position` is within the descriptor.
#[cfg(since_18)]
pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, position: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: promised by the caller. From 18 on the full attributes follow the compact ones (see TupleDescAttr).
    unsafe {
        let natts = (*descriptor).natts as usize;
        (*descriptor).compact_attrs.as_ptr().add(natts).cast::<pg_sys::FormData_pg_attribute>().add(position)
    }
}

/// Creates an index's catalog rows and its empty file, without building it.
///
/// # Safety
/// `statement` is a transformed CREATE INDEX for a relation laid out as `heap`.
pub unsafe fn define_unbuilt_index(heap: pg_sys::Oid, statement: *mut pg_sys::IndexStmt) -> pg_sys::Oid {
    let none = pg_sys::Oid::INVALID;
    // SAFETY: promised by the caller. Rights are those of the target, which were checked.
    unsafe {
        #[cfg(not(since_16))]
        let address = pg_sys::DefineIndex(heap, statement, none, none, none, false, false, false, true, true);
        #[cfg(since_16)]
        let address = pg_sys::DefineIndex(heap, statement, none, none, none, -1, false, false, false, true, true);
        address.objectId
    }
}

/// Creates an index's catalog rows and its empty file for a statement of the current role's, whose rights are checked.
///
/// # Safety
/// `statement` is a transformed CREATE INDEX for that table, which is locked.
pub unsafe fn define_empty_index(table: pg_sys::Oid, statement: *mut pg_sys::IndexStmt) -> pg_sys::Oid {
    let none = pg_sys::Oid::INVALID;
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        let address = pg_sys::DefineIndex(table, statement, none, none, none, false, true, true, true, false);
        #[cfg(since_16)]
        let address = pg_sys::DefineIndex(table, statement, none, none, none, -1, false, true, true, true, false);
        address.objectId
    }
}

/// Returns whether a key is one over periods, which are there since 18.
///
/// # Safety
/// A node of a statement.
pub unsafe fn has_periods(key: *const pg_sys::Constraint) -> bool {
    #[cfg(since_18)]
    // SAFETY: promised by the caller.
    return unsafe { (*key).without_overlaps };
    #[cfg(not(since_18))]
    {
        let _ = key;
        false
    }
}

/// Brings the compact form of a column up to date with its full one, which a descriptor has since 18.
///
/// # Safety
/// The descriptor is the caller's own, and `position` is within it.
pub unsafe fn complete_attribute(descriptor: pg_sys::TupleDesc, position: usize) {
    #[cfg(since_18)]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::populate_compact_attribute(descriptor, position as i32);
    }
    #[cfg(not(since_18))]
    let _ = (descriptor, position);
}

/// Makes the description of an index that is not built yet.
///
/// # Safety
/// Both lists are those of an index, or null.
pub unsafe fn index_info(
    columns: i32,
    key_columns: i32,
    access_method: pg_sys::Oid,
    expressions: *mut pg_sys::List,
    predicate: *mut pg_sys::List,
    unique: bool,
    nulls_not_distinct: bool,
) -> *mut pg_sys::IndexInfo {
    let (am, nnd) = (access_method, nulls_not_distinct);
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(since_16))]
        return pg_sys::makeIndexInfo(columns, key_columns, am, expressions, predicate, unique, nnd, true, false);
        #[cfg(all(since_16, not(since_18)))]
        return pg_sys::makeIndexInfo(
            columns,
            key_columns,
            am,
            expressions,
            predicate,
            unique,
            nnd,
            true,
            false,
            false,
        );
        #[cfg(since_18)]
        return pg_sys::makeIndexInfo(
            columns,
            key_columns,
            am,
            expressions,
            predicate,
            unique,
            nnd,
            true,
            false,
            false,
            false,
        );
    }
}

/// The collations, operator classes, orderings and options of operator classes of an index's columns.
type IndexColumns<'a> = (&'a [pg_sys::Oid], &'a [pg_sys::Oid], &'a [i16], &'a [pg_sys::Datum]);

/// Creates an index's catalog rows and its empty file, without building it. `place` has its access method and tablespace.
///
/// # Safety
/// The relation is open and locked; the slices have an item for each column.
pub unsafe fn create_unbuilt_index(
    heap: pg_sys::Relation,
    name: &std::ffi::CStr,
    info: *mut pg_sys::IndexInfo,
    names: *mut pg_sys::List,
    place: (pg_sys::Oid, pg_sys::Oid),
    columns: IndexColumns<'_>,
    options: pg_sys::Datum,
) -> pg_sys::Oid {
    let none = pg_sys::Oid::INVALID;
    let (collations, classes, orderings, class_options) = columns;
    let flags = pg_sys::INDEX_CREATE_SKIP_BUILD as pg_sys::bits16;
    // SAFETY: promised by the caller; the function copies what it is given.
    unsafe {
        #[cfg(not(since_17))]
        {
            if class_options.iter().any(|options| options.value() != 0) {
                let size = std::mem::size_of_val(class_options);
                let copy = pg_sys::palloc(size).cast::<pg_sys::Datum>();
                std::ptr::copy_nonoverlapping(class_options.as_ptr(), copy, class_options.len());
                (*info).ii_OpclassOptions = copy;
            }
            pg_sys::index_create(
                heap,
                name.as_ptr(),
                none,
                none,
                none,
                Default::default(),
                info,
                names,
                place.0,
                place.1,
                collations.as_ptr().cast_mut(),
                classes.as_ptr().cast_mut(),
                orderings.as_ptr().cast_mut(),
                options,
                flags,
                0,
                false,
                true,
                std::ptr::null_mut(),
            )
        }
        #[cfg(since_17)]
        pg_sys::index_create(
            heap,
            name.as_ptr(),
            none,
            none,
            none,
            Default::default(),
            info,
            names,
            place.0,
            place.1,
            collations.as_ptr(),
            classes.as_ptr(),
            class_options.as_ptr(),
            orderings.as_ptr(),
            std::ptr::null(),
            options,
            flags,
            0,
            false,
            true,
            std::ptr::null_mut(),
        )
    }
}

/// Exchanges the sizes of two relations in `pg_class`.
///
/// # Safety
/// Both point to a row of the catalog.
pub unsafe fn exchange_page_counts(one: *mut pg_sys::FormData_pg_class, other: *mut pg_sys::FormData_pg_class) {
    // SAFETY: promised by the caller.
    unsafe {
        std::mem::swap(&mut (*one).relpages, &mut (*other).relpages);
        std::mem::swap(&mut (*one).reltuples, &mut (*other).reltuples);
        std::mem::swap(&mut (*one).relallvisible, &mut (*other).relallvisible);
        #[cfg(since_18)]
        std::mem::swap(&mut (*one).relallfrozen, &mut (*other).relallfrozen);
    }
}

/// Returns the descriptor that a stage table of an open target is made with.
///
/// From 18 on, columns may be computed when they are read, which a table without their expressions cannot do: they
/// become ordinary columns that are always NULL. A NOT NULL constraint that is not valid does not hold for the rows of
/// a load, and is left out.
///
/// # Safety
/// The target is open for as long as the descriptor is used.
pub unsafe fn stage_descriptor(target: pg_sys::Relation) -> pg_sys::TupleDesc {
    // SAFETY: promised by the caller.
    let descriptor = unsafe { (*target).rd_att };
    #[cfg(since_18)]
    // SAFETY: the copy is this function's own, with as many columns.
    unsafe {
        let natts = (*descriptor).natts as usize;
        let full = |descriptor, position| attribute(descriptor, position).cast_mut();
        let compact = |position: usize| (*descriptor).compact_attrs.as_ptr().add(position);
        let is_virtual =
            |position| (*full(descriptor, position)).attgenerated as u8 == pg_sys::ATTRIBUTE_GENERATED_VIRTUAL;
        let is_unvalidated = |position| (*compact(position)).attnullability as u8 == pg_sys::ATTNULLABLE_INVALID;
        if (0..natts).any(|position| is_virtual(position) || is_unvalidated(position)) {
            let copy = pg_sys::CreateTupleDescCopyConstr(descriptor);
            for position in (0..natts).filter(|&position| is_virtual(position) || is_unvalidated(position)) {
                (*full(copy, position)).attnotnull = false;
                if is_virtual(position) {
                    (*full(copy, position)).attgenerated = 0;
                }
                pg_sys::populate_compact_attribute(copy, position as i32);
            }
            return copy;
        }
    }
    descriptor
}

/// Lets ANALYZE know of a statistics target that an index column was given in the transaction that made the index: the
/// relation cache does not read the columns of such an index again. From 17 on ANALYZE asks the catalog.
///
/// # Safety
/// The index exists and is locked.
pub unsafe fn note_statistics_target(index: pg_sys::Oid, number: i16, target: i32) {
    #[cfg(not(since_17))]
    // SAFETY: promised by the caller; the descriptor is that of the cache's own entry, which only this process reads.
    unsafe {
        let relation = pg_sys::relation_open(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        let attribute = attribute((*relation).rd_att, (number - 1) as usize).cast_mut();
        #[cfg(not(since_16))]
        let target_here = target;
        // At most 10000.
        #[cfg(all(since_16, not(since_17)))]
        let target_here = target as i16;
        (*attribute).attstattarget = target_here;
        pg_sys::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    #[cfg(since_17)]
    let _ = (index, number, target);
}
