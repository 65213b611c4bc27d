use crate::compat;
use crate::error::{Error, Result};
use crate::local::catalog::Index;
use crate::local::new_tables::{self, NewIndex, NewTable, NewToast};
use crate::local::{bindings, encoding, settings};
use crate::order::{Stage, TableSpec, stage_index_name, stage_name};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CString;

/// Makes a stage table with the target's layout, storage parameters and unbuilt indexes.
///
/// As `make_new_heap` in `cluster.c`: dropped columns keep their numbers, and `relrewrite` keeps the rows from logical
/// decoding. Indexes get their catalog rows and empty files now, so that no file is made by a transaction that may
/// still be running in a crash.
pub fn create(job: i64, table: &TableSpec) -> Result<Stage> {
    if let Some(new_table) = &table.new_table {
        return create_new(job, table, new_table);
    }
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the relation stays open, and so its descriptor and row valid, until the end of the block.
    unsafe {
        let target = pg_sys::try_relation_open(table.target.into(), lock);
        if target.is_null() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("table {} was dropped meanwhile", table.qualified_name()),
            ));
        }
        let form = (*target).rd_rel;
        let storage = Storage {
            owner: (*form).relowner,
            tablespace: (*form).reltablespace,
            access_method: (*form).relam,
            persistence: (*form).relpersistence,
            options: relation_options(table.target),
        };
        let heap = create_heap(job, table, compat::stage_descriptor(target), storage)?;
        let target_toast = (*form).reltoastrelid;
        // Most small tables never need theirs, and making it costs more than all else. While the target's own is empty,
        // the target may keep it; should a row want one after all, the load asks for it.
        // ALTER TABLE, which sets options of columns, insists on one. A target without has no column that could need it.
        let altered = table.column_options.iter().any(|column| column.relation == table.target);
        let may_need = altered || table.expects_long_rows || !is_empty_toast(target_toast);
        if target_toast != pg_sys::Oid::INVALID && may_need {
            create_toast(heap, target_toast);
        }
        let mut indexes = Vec::with_capacity(table.indexes.len());
        // An index in the database's own tablespace names none, and would go to this one.
        settings::scoped(|| {
            settings::set_local(c"default_tablespace", "")?;
            for (position, index) in table.indexes.iter().enumerate() {
                // The leader makes its own when it builds them, where another process makes the table.
                let waits = !table.leader.does_all && table.leader.indexes.contains(&position);
                indexes.push(if waits { 0 } else { create_index(job, heap, target, index)?.to_u32() });
            }
            Ok(())
        })?;
        pg_sys::relation_close(target, lock);
        super::statistics::prepare(job, heap.to_u32(), table, &indexes)?;
        super::dependencies::belong_to_extension(heap, &indexes)?;
        Ok(Stage { heap: heap.to_u32(), indexes })
    }
}

/// Makes the index of a stage table that only the leader can make, and returns it.
pub fn create_own_index(job: i64, heap: u32, table: &TableSpec, index: usize) -> Result<u32> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let index = &table.indexes[index];
    // SAFETY: the leader's own lock keeps the target in place; what was opened is closed again.
    unsafe {
        let target = pg_sys::table_open(table.target.into(), lock);
        let created = settings::scoped(|| {
            settings::set_local(c"default_tablespace", "")?;
            create_index(job, heap.into(), target, index)
        })?;
        pg_sys::table_close(target, lock);
        super::statistics::prepare_index(table, index, created.to_u32())?;
        super::dependencies::forget_objects_used_by_index(created);
        Ok(created.to_u32())
    }
}

/// Makes the stage table of a target that this process does not see.
fn create_new(job: i64, table: &TableSpec, new_table: &NewTable) -> Result<Stage> {
    // SAFETY: a descriptor of our own with as many columns as are filled in.
    unsafe {
        let descriptor = pg_sys::CreateTemplateTupleDesc(new_table.columns.len() as i32);
        for (position, column) in new_table.columns.iter().enumerate() {
            let column_name = encoding::to_database(&column.name)?;
            let type_oid = if column.dropped { pg_sys::INT4OID } else { column.type_oid.into() };
            let number = (position + 1) as pg_sys::AttrNumber;
            let (typmod, dimensions) = (column.typmod, column.dimensions);
            pg_sys::TupleDescInitEntry(descriptor, number, column_name.as_ptr(), type_oid, typmod, dimensions);
            let attribute = compat::attribute(descriptor, position).cast_mut();
            (*attribute).atttypid = column.type_oid.into();
            (*attribute).attcollation = column.collation.into();
            (*attribute).attlen = column.length;
            (*attribute).attbyval = column.by_value;
            (*attribute).attalign = column.alignment as std::ffi::c_char;
            (*attribute).attstorage = column.storage as std::ffi::c_char;
            (*attribute).attcompression = column.compression.bytes().next().unwrap_or(0) as std::ffi::c_char;
            (*attribute).attnotnull = column.not_null;
            (*attribute).attisdropped = column.dropped;
            compat::complete_attribute(descriptor, position);
        }
        let storage = Storage {
            owner: table.owner.into(),
            tablespace: new_table.tablespace.into(),
            access_method: new_table.access_method.into(),
            persistence: new_table.persistence as std::ffi::c_char,
            options: new_tables::text_array(&new_table.options)?,
        };
        let heap = create_heap(job, table, descriptor, storage)?;
        if let Some(toast) = new_table.toast.as_ref().filter(|_| table.expects_long_rows) {
            create_new_toast(heap, toast)?;
        }
        let mut indexes = Vec::with_capacity(table.indexes.len());
        for (position, (index, definition)) in table.indexes.iter().zip(&new_table.indexes).enumerate() {
            let waits = table.leader.indexes.contains(&position);
            indexes.push(if waits { 0 } else { create_new_index(job, heap, index, definition)?.to_u32() });
        }
        super::dependencies::belong_to_extension(heap, &indexes)?;
        Ok(Stage { heap: heap.to_u32(), indexes })
    }
}

/// # Safety
/// The stage table has none yet, and nobody else uses it.
unsafe fn create_new_toast(stage: pg_sys::Oid, toast: &NewToast) -> Result<()> {
    let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: promised by the caller.
    unsafe {
        bindings::NewHeapCreateToastTable(stage, new_tables::text_array(&toast.options)?, lock, toast.oid.into())
    };
    Ok(())
}

/// Gives the stage table the catalog rows and an empty file for an index of a target that this process does not see. As
/// `index_concurrently_create_copy` in `index.c`.
///
/// # Safety
/// The stage table was made by this transaction, with the columns that the definition names.
unsafe fn create_new_index(job: i64, heap: pg_sys::Oid, index: &Index, definition: &NewIndex) -> Result<pg_sys::Oid> {
    let name = CString::new(stage_index_name(job, index.oid)).expect("made of digits and letters");
    // SAFETY: promised by the caller. Lists and arrays are palloc'd here or outlive the call, which copies them.
    unsafe {
        let expressions = match &definition.expressions {
            Some(expressions) => crate::local::expressions::parse(expressions)?.cast(),
            None => std::ptr::null_mut(),
        };
        let predicate = match &definition.predicate {
            Some(predicate) => pg_sys::make_ands_implicit(crate::local::expressions::parse(predicate)?.cast()),
            None => std::ptr::null_mut(),
        };
        let info = compat::index_info(
            definition.columns.len() as i32,
            definition.key_columns,
            definition.access_method.into(),
            expressions,
            predicate,
            definition.unique,
            definition.nulls_not_distinct,
        );
        let mut names = std::ptr::null_mut();
        let (mut collations, mut classes) = (Vec::new(), Vec::new());
        let (mut orderings, mut class_options) = (Vec::new(), Vec::new());
        for (position, column) in definition.columns.iter().enumerate() {
            (*info).ii_IndexAttrNumbers[position] = column.number;
            let column_name = encoding::to_database(&column.name)?;
            names = pg_sys::lappend(names, pg_sys::pstrdup(column_name.as_ptr()).cast());
            collations.push(pg_sys::Oid::from(column.collation));
            classes.push(pg_sys::Oid::from(column.class));
            orderings.push(column.ordering);
            class_options.push(new_tables::text_array(&column.class_options)?);
        }
        let lock = pg_sys::ShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(heap, lock);
        let created = compat::create_unbuilt_index(
            relation,
            &name,
            info,
            names,
            (definition.access_method.into(), definition.tablespace.into()),
            (&collations, &classes, &orderings, &class_options),
            new_tables::text_array(&definition.options)?,
        );
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
        hide_until_built(created)?;
        Ok(created)
    }
}

/// Where and how the rows of a stage table are stored, and whose they are.
struct Storage {
    owner: pg_sys::Oid,
    tablespace: pg_sys::Oid,
    access_method: pg_sys::Oid,
    persistence: std::ffi::c_char,
    /// As `pg_class.reloptions`.
    options: pg_sys::Datum,
}

/// Creates the heap of a stage table, without a TOAST table and indexes.
///
/// # Safety
/// The descriptor is that of the target's columns.
unsafe fn create_heap(
    job: i64,
    table: &TableSpec,
    descriptor: pg_sys::TupleDesc,
    storage: Storage,
) -> Result<pg_sys::Oid> {
    let name = CString::new(stage_name(job, table.target)).expect("made of digits and letters");
    let schema = stage_schema()?;
    // SAFETY: promised by the caller; what is passed lives until the end of the call.
    unsafe {
        let heap = pg_sys::heap_create_with_catalog(
            name.as_ptr(),
            schema,
            storage.tablespace,
            pg_sys::Oid::INVALID,
            pg_sys::Oid::INVALID,
            pg_sys::Oid::INVALID,
            storage.owner,
            storage.access_method,
            descriptor,
            std::ptr::null_mut(),
            pg_sys::RELKIND_RELATION as std::ffi::c_char,
            storage.persistence,
            false,
            false,
            pg_sys::OnCommitAction::ONCOMMIT_NOOP,
            without_autovacuum(storage.options),
            false,
            true,
            true,
            table.target.into(),
            std::ptr::null_mut(),
        );
        pg_sys::CommandCounterIncrement();
        Ok(heap)
    }
}

/// Gives a stage table a TOAST table with the options of the target's own, if rows of its layout may need one.
///
/// It is marked as a rewrite's as its heap is: logical decoding drops the rows of such a heap, and would keep the chunks of
/// a TOAST table without the mark for rows that never come.
///
/// # Safety
/// The stage table has none yet, and nobody else uses it.
unsafe fn create_toast(stage: pg_sys::Oid, target_toast: pg_sys::Oid) {
    // SAFETY: promised by the caller; the target's lock keeps its TOAST table in place.
    unsafe {
        let options = relation_options(target_toast.to_u32());
        let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        bindings::NewHeapCreateToastTable(stage, options, lock, target_toast);
    }
}

/// Makes the TOAST table that [`create`] thought the stage table would not need.
pub fn give_toast_table(stage: u32, table: &TableSpec) -> Result<()> {
    let (target, lock) = (table.target, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
    // SAFETY: the job's lock on the target keeps it in place, and nobody else has a use for the stage table.
    unsafe {
        if let Some(new_table) = &table.new_table {
            return new_table.toast.as_ref().map_or(Ok(()), |toast| create_new_toast(stage.into(), toast));
        }
        let relation = pg_sys::table_open(target.into(), lock);
        let toast = (*(*relation).rd_rel).reltoastrelid;
        pg_sys::table_close(relation, lock);
        if toast != pg_sys::Oid::INVALID {
            create_toast(stage.into(), toast);
        }
    }
    Ok(())
}

/// Returns whether there is a TOAST table without a page.
unsafe fn is_empty_toast(toast: pg_sys::Oid) -> bool {
    if toast == pg_sys::Oid::INVALID {
        return true;
    }
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: opened and closed in pairs; the owner's lock keeps it in place.
    unsafe {
        let relation = pg_sys::table_open(toast, lock);
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::table_close(relation, lock);
        pages == 0
    }
}

fn stage_schema() -> Result<pg_sys::Oid> {
    let name = CString::new(super::SCHEMA).expect("a constant without NUL");
    // SAFETY: a syscache lookup.
    let schema = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
    if schema == pg_sys::Oid::INVALID {
        return Err(Error::internal(format!("schema \"{}\" does not exist", super::SCHEMA))
            .hint("Create the extension pgcopy again."));
    }
    Ok(schema)
}

/// Returns a relation's options as `pg_class.reloptions` keeps them, copied to the current context.
unsafe fn relation_options(relation: u32) -> pg_sys::Datum {
    // SAFETY: the tuple is released after the value was copied out of it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(pg_sys::Oid::from(relation)),
        );
        if tuple.is_null() {
            return pg_sys::Datum::from(0usize);
        }
        let mut is_null = false;
        let value = pg_sys::SysCacheGetAttr(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            tuple,
            pg_sys::Anum_pg_class_reloptions as pg_sys::AttrNumber,
            &mut is_null,
        );
        let copied = if is_null {
            pg_sys::Datum::from(0usize)
        } else {
            pg_sys::Datum::from(pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr()))
        };
        pg_sys::ReleaseSysCache(tuple);
        copied
    }
}

/// Adds the option that switches autovacuum off, which would only get into a task's way. The option goes with the stage
/// table's own row.
unsafe fn without_autovacuum(options: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: builds a one-element list of palloc'd nodes, which the callee only reads.
    unsafe {
        let value = pg_sys::makeString(c"false".as_ptr().cast_mut());
        let option = pg_sys::makeDefElem(c"autovacuum_enabled".as_ptr().cast_mut(), value.cast(), -1);
        let list = pg_sys::lappend(std::ptr::null_mut(), option.cast());
        pg_sys::transformRelOptions(options, list, std::ptr::null(), std::ptr::null_mut(), false, false)
    }
}

/// Gives the stage table the catalog rows and an empty file for a copy of one of the target's indexes.
unsafe fn create_index(job: i64, heap: pg_sys::Oid, target: pg_sys::Relation, index: &Index) -> Result<pg_sys::Oid> {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let name = CString::new(stage_index_name(job, index.oid)).expect("made of digits and letters");
    // SAFETY: the index stays open while its definition is read; the statement is a fresh tree of our own.
    unsafe {
        let source = pg_sys::index_open(index.oid.into(), lock);
        let natts = (*(*target).rd_att).natts;
        let map = pg_sys::make_attrmap(natts);
        for position in 0..natts {
            *(*map).attnums.add(position as usize) = (position + 1) as pg_sys::AttrNumber;
        }
        let statement = bindings::generateClonedIndexStmt(std::ptr::null_mut(), source, map, std::ptr::null_mut());
        (*statement).idxname = pg_sys::pstrdup(name.as_ptr());
        (*statement).idxcomment = std::ptr::null_mut();
        // Uniqueness is what the index enforces; a constraint of its own would only be one more catalog row. An
        // exclusion constraint's operators, though, are kept nowhere else.
        if (*statement).excludeOpNames.is_null() {
            (*statement).isconstraint = false;
            (*statement).primary = false;
        }
        // A deferrable constraint has a trigger, which changes the heap's row of pg_class: where the leader makes the index, workers
        // that analyze the table or build its other indexes would wait for the leader's transaction, and the leader for them.
        (*statement).deferrable = false;
        (*statement).initdeferred = false;
        if !index.valid {
            (*statement).unique = false;
        }
        let created = compat::define_unbuilt_index(heap, statement);
        pg_sys::index_close(source, lock);
        hide_until_built(created)?;
        Ok(created)
    }
}

/// Marks an index as not yet usable, so that no planner reads its empty file: `pg_index` as CREATE INDEX CONCURRENTLY
/// leaves it before its build.
unsafe fn hide_until_built(index: pg_sys::Oid) -> Result<()> {
    // SAFETY: the tuple is a copy of our own; its fixed part is what the catalog's structure describes.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::IndexRelationId, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let tuple = pg_sys::SearchSysCacheCopy(
            pg_sys::SysCacheIdentifier::INDEXRELID as i32,
            pg_sys::Datum::from(index),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        );
        if tuple.is_null() {
            return Err(Error::internal(format!("cache lookup failed for index {index}")));
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_index>();
        (*form).indisvalid = false;
        (*form).indisready = false;
        pg_sys::CatalogTupleUpdate(catalog, &mut (*tuple).t_self, tuple);
        pg_sys::table_close(catalog, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
    }
    Ok(())
}
