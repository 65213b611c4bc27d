//! Who the current code runs as.

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// The caller, as a worker must become it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who logged in: a worker's session belongs to it, because `current` may be a role that cannot log in.
    pub authenticated: u32,
    pub current: u32,
}

impl Caller {
    pub fn of_this_session() -> Self {
        // SAFETY: both read backend-local variables that are set for the whole life of a session.
        unsafe {
            Self { authenticated: pg_sys::GetAuthenticatedUserId().to_u32(), current: pg_sys::GetUserId().to_u32() }
        }
    }

    pub fn is_superuser(self) -> bool {
        is_superuser(self.current)
    }
}

pub fn is_superuser(role: u32) -> bool {
    // SAFETY: a syscache lookup inside a transaction.
    unsafe { pg_sys::superuser_arg(role.into()) }
}

/// Whom a piece of work runs as.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// The bootstrap superuser, for fixed statements on our own tables only.
    Extension,
    /// A table's owner, under the restrictions that core puts on functions which belong to a table.
    TableOwner(u32),
}

/// Runs `work` as another role. The old one comes back on return; on an ERROR the end of the (sub)transaction, which
/// every ERROR leads to, restores it.
pub fn run_as<T>(role: Role, work: impl FnOnce() -> T) -> T {
    let (user, flags) = match role {
        Role::Extension => (pg_sys::BOOTSTRAP_SUPERUSERID, pg_sys::SECURITY_LOCAL_USERID_CHANGE),
        Role::TableOwner(owner) => (owner, pg_sys::SECURITY_RESTRICTED_OPERATION),
    };
    let mut saved_user = pg_sys::Oid::INVALID;
    let mut saved_context = 0;
    // SAFETY: the pair is what core uses for the same purpose (see index_build); both touch backend-local state only.
    // A GUC nest level keeps settings that `work` makes from outliving it, as core does for maintenance commands.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut saved_user, &mut saved_context);
        pg_sys::SetUserIdAndSecContext(user.into(), saved_context | flags as i32);
        let nest_level = pg_sys::NewGUCNestLevel();
        let value = work();
        pg_sys::AtEOXact_GUC(false, nest_level);
        pg_sys::SetUserIdAndSecContext(saved_user, saved_context);
        value
    }
}

/// The name of a role, for messages.
pub fn role_name(role: u32) -> String {
    // SAFETY: a syscache lookup; the result is palloc'd in the current context, or null for a missing role.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role.into(), true);
        if name.is_null() {
            role.to_string()
        } else {
            crate::local::encoding::from_database(std::ffi::CStr::from_ptr(name))
        }
    }
}

/// Makes a worker's transaction run as the caller, whatever role its session belongs to.
pub fn become_caller(caller: Caller) {
    // SAFETY: as ParallelWorkerMain does; the end of the transaction restores the session's own role.
    unsafe { pg_sys::SetUserIdAndSecContext(caller.current.into(), 0) }
}
