//! Expressions of tables, and their parts that depend on the calling session.

use super::encoding;
use crate::compat;
use crate::error::Result;
use pgrx::pg_sys;
use std::ffi::{CStr, c_void};

/// Parses a node tree as the catalogs keep it.
pub fn parse(node_tree: &str) -> Result<*mut pg_sys::Node> {
    let text = encoding::to_database(node_tree)?;
    // SAFETY: the text was written by nodeToString of this very server version and is parsed by its inverse.
    Ok(unsafe { pg_sys::stringToNode(text.as_ptr().cast_mut()) }.cast())
}

/// # Safety
/// The node is a whole tree.
pub unsafe fn text_of(node: *mut pg_sys::Node) -> String {
    // SAFETY: promised by the caller; the text is palloc'd in the current context.
    unsafe { encoding::from_database(CStr::from_ptr(pg_sys::nodeToString(node.cast()))) }
}

/// Replaces `current_user`, CURRENT_TIMESTAMP and the like by their values for the current role and session.
pub fn with_values_of_session(node_tree: &str) -> Result<String> {
    if !node_tree.contains("{SQLVALUEFUNCTION") {
        return Ok(node_tree.to_owned());
    }
    // SAFETY: a whole tree, and a mutator that returns whole trees.
    unsafe { Ok(text_of(put_values_of_session(parse(node_tree)?, std::ptr::null_mut()))) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn put_values_of_session(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    // SAFETY: the server gives nodes of the tree, or null.
    unsafe {
        if !node.is_null() && (*node).type_ == pg_sys::NodeTag::T_SQLValueFunction {
            return evaluate(node);
        }
        compat::mutate_expression(node, put_values_of_session, context)
    }
}

/// Computes the parts of an expression that are the same for all rows of a command, but not for every session.
pub fn with_stable_parts_computed(node_tree: &str) -> Result<String> {
    let node = parse(node_tree)?;
    // SAFETY: a whole tree, and a mutator that returns whole trees.
    unsafe {
        if !pg_sys::contain_mutable_functions(node) {
            return Ok(node_tree.to_owned());
        }
        Ok(text_of(compute_stable_parts(node, std::ptr::null_mut())))
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn compute_stable_parts(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    use pg_sys::NodeTag::*;
    // SAFETY: the server gives nodes of the tree, or null; those of the kinds named here have a type.
    unsafe {
        if node.is_null() {
            return node;
        }
        let is_value = matches!(
            (*node).type_,
            T_FuncExpr
                | T_OpExpr
                | T_DistinctExpr
                | T_NullIfExpr
                | T_ScalarArrayOpExpr
                | T_BoolExpr
                | T_RelabelType
                | T_CoerceViaIO
                | T_ArrayCoerceExpr
                | T_CoerceToDomain
                | T_CaseExpr
                | T_ArrayExpr
                | T_RowExpr
                | T_CoalesceExpr
                | T_MinMaxExpr
                | T_NullTest
                | T_BooleanTest
                | T_SQLValueFunction
        );
        let mut depends_on_rows = false;
        if is_value {
            note_rows(node, (&raw mut depends_on_rows).cast());
        }
        let is_stable = is_value
            && !depends_on_rows
            && pg_sys::contain_mutable_functions(node)
            && !pg_sys::contain_volatile_functions(node);
        if is_stable { evaluate(node) } else { compat::mutate_expression(node, compute_stable_parts, context) }
    }
}

/// Notes in a flag whether a tree mentions columns or parameters, which have no value of their own. The tree stays as
/// it is.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn note_rows(node: *mut pg_sys::Node, flag: *mut c_void) -> *mut pg_sys::Node {
    use pg_sys::NodeTag::*;
    // SAFETY: the server gives nodes of the tree, or null, and the flag of the caller.
    unsafe {
        if node.is_null() {
            return node;
        }
        if matches!(
            (*node).type_,
            T_Var | T_Param | T_CaseTestExpr | T_CoerceToDomainValue | T_SubLink | T_SetToDefault
        ) {
            *flag.cast::<bool>() = true;
            return node;
        }
        compat::mutate_expression(node, note_rows, flag)
    }
}

/// # Safety
/// The node is an expression that mentions no row.
unsafe fn evaluate(node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: promised by the caller.
    unsafe {
        let typmod = pg_sys::exprTypmod(node);
        pg_sys::evaluate_expr(node.cast(), pg_sys::exprType(node), typmod, pg_sys::exprCollation(node)).cast()
    }
}

/// Returns whether an expression calls a function whose result could differ in another process, or that could have an
/// effect there.
pub fn asks_the_session(node_tree: &str) -> Result<bool> {
    let mut asks = false;
    // SAFETY: a whole tree; the flag outlives the walk.
    unsafe { note_functions_of_session(parse(node_tree)?, (&raw mut asks).cast()) };
    Ok(asks)
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn note_functions_of_session(node: *mut pg_sys::Node, flag: *mut c_void) -> *mut pg_sys::Node {
    // SAFETY: the server gives nodes of the tree, or null, and the flag of the caller.
    unsafe {
        if node.is_null() {
            return node;
        }
        if pg_sys::check_functions_in_node(node, Some(is_of_session), std::ptr::null_mut()) {
            *flag.cast::<bool>() = true;
        }
        compat::mutate_expression(node, note_functions_of_session, flag)
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn is_of_session(function: pg_sys::Oid, _context: *mut c_void) -> bool {
    /// Volatile functions of the server that do not depend on a session.
    const OF_THE_SERVER: [&CStr; 8] = [
        c"nextval",
        c"clock_timestamp",
        c"timeofday",
        c"random",
        c"random_normal",
        c"gen_random_uuid",
        c"uuidv4",
        c"uuidv7",
    ];
    // SAFETY: syscache lookups; names are palloc'd in the current context.
    unsafe {
        if pg_sys::func_volatile(function) as u8 != pg_sys::PROVOLATILE_VOLATILE {
            return false;
        }
        if function.to_u32() >= pg_sys::FirstNormalObjectId {
            return !is_compiled(function);
        }
        let name = pg_sys::get_func_name(function);
        name.is_null() || !OF_THE_SERVER.contains(&CStr::from_ptr(name))
    }
}

/// Returns whether a function is written in C, and computes from its arguments alone.
unsafe fn is_compiled(function: pg_sys::Oid) -> bool {
    /// `INTERNALlanguageId` and `ClanguageId` (`catalog/pg_language.h`).
    const COMPILED: [u32; 2] = [12, 13];
    // SAFETY: the tuple is released after the value was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let language = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).prolang;
        pg_sys::ReleaseSysCache(tuple);
        COMPILED.contains(&language.to_u32())
    }
}
