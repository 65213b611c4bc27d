//! Facts about types from the catalog.

use pgrx::pg_sys;

/// A type as its values are read: a domain stands for its base type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseType {
    pub oid: pg_sys::Oid,
    pub typmod: i32,
    /// The number of dimensions of an array, as declared; 0 where none was declared.
    pub dimensions: usize,
    pub shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Scalar,
    Enum,
    /// An array, with the type of its elements, which has the array's typmod.
    Array(pg_sys::Oid),
    Composite,
}

/// Returns the base type of a type, through all domains.
pub fn base_type(type_oid: pg_sys::Oid, typmod: i32, dimensions: usize) -> BaseType {
    let mut base = BaseType { oid: type_oid, typmod, dimensions, shape: Shape::Scalar };
    loop {
        // SAFETY: a syscache lookup; the row is released before the next one, and all that is read of it are numbers.
        let (kind, form) = unsafe {
            let tuple =
                pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, pg_sys::Datum::from(base.oid));
            if tuple.is_null() {
                return base;
            }
            let form = *pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
            pg_sys::ReleaseSysCache(tuple);
            (form.typtype as u8, form)
        };
        if kind == pg_sys::TYPTYPE_DOMAIN {
            base.oid = form.typbasetype;
            if base.typmod < 0 {
                base.typmod = form.typtypmod;
            }
            base.dimensions = base.dimensions.max(form.typndims.max(0) as usize);
            continue;
        }
        // The vectors of the catalogs count from 0 and are written as texts.
        let is_vector = matches!(base.oid, pg_sys::INT2VECTOROID | pg_sys::OIDVECTOROID);
        base.shape = match kind {
            pg_sys::TYPTYPE_ENUM => Shape::Enum,
            pg_sys::TYPTYPE_COMPOSITE => Shape::Composite,
            _ if form.typsubscript.to_u32() == pg_sys::F_ARRAY_SUBSCRIPT_HANDLER && !is_vector => {
                Shape::Array(form.typelem)
            }
            _ => Shape::Scalar,
        };
        return base;
    }
}

/// Returns the function that converts a value from one type to another, if a function is needed: for arrays, that of
/// the elements.
pub fn cast_function(from: u32, to: u32) -> Option<u32> {
    let mut function = pg_sys::Oid::INVALID;
    // SAFETY: syscache lookups; the function is written to a variable of ours.
    unsafe {
        let explicit = pg_sys::CoercionContext::COERCION_EXPLICIT;
        let path = pg_sys::find_coercion_pathway(to.into(), from.into(), explicit, &mut function);
        if path != pg_sys::CoercionPathType::COERCION_PATH_ARRAYCOERCE {
            return (function != pg_sys::Oid::INVALID).then(|| function.to_u32());
        }
        let element = |array: u32| pg_sys::get_base_element_type(array.into()).to_u32();
        let (from, to) = (element(from), element(to));
        if from == to { None } else { cast_function(from, to) }
    }
}

/// Returns the owner of an existing function.
pub fn function_owner(function: u32) -> Option<u32> {
    // SAFETY: a syscache lookup; the row is released after a number was read of it.
    unsafe {
        let function = pg_sys::Datum::from(pg_sys::Oid::from(function));
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, function);
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).proowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner.to_u32())
    }
}
