//! Large objects: their values, owners, privileges and comments.
//!
//! `pg_dump` writes statements for each of them, which takes longer than all of their bytes. The same is read here in a few
//! queries, as the snapshot sees it, and made with as few statements as there can be.

use crate::error::{Error, Result, catch};
use crate::local::script_objects::missing_roles;
use crate::local::spi::{self, Param};
use crate::local::{identity, interrupts, settings};
use crate::source::{LargeObject, Session, read_large_object_part, read_large_objects, read_large_objects_from};
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of an object that are asked for with those of others; a longer one is read on by itself.
const FIRST_PART: usize = 16 * 1024;
const OBJECTS_AT_ONCE: usize = 500;
const NEXT_PART: usize = 1024 * 1024;
/// The privileges that there are on large objects.
const PRIVILEGES: [&str; 2] = ["SELECT", "UPDATE"];
/// The objects that one statement grants privileges on.
const MOST_GRANTED: usize = 1000;

/// The large objects of a source that are to be made here.
pub struct LargeObjects {
    objects: Vec<LargeObject>,
    /// Those that exist here already.
    existing: BTreeSet<u32>,
}

impl LargeObjects {
    pub fn read(session: &Session) -> Result<Self> {
        let objects = read_large_objects(session)?;
        let oids: Vec<u32> = objects.iter().map(|object| object.oid).collect();
        let existing: Vec<u32> = settings::with_catalog_settings(|| {
            spi::fixed::query_json(
                "SELECT coalesce(json_agg(m.oid::bigint), '[]')::text FROM pg_largeobject_metadata m WHERE m.oid = ANY ($1)",
                &[Param::OidArray(&oids)],
            )
        })?;
        Ok(Self { objects, existing: existing.into_iter().collect() })
    }

    /// Returns how many are to be made, and how many exist here already, where there are any.
    pub fn planned(&self) -> Vec<(usize, bool)> {
        let counts = [(self.objects.len() - self.existing.len(), false), (self.existing.len(), true)];
        counts.into_iter().filter(|(count, _)| *count > 0).collect()
    }

    /// # Errors
    /// Some of them exist here, and are not to be kept.
    pub fn refuse_existing(&self, keeps_existing: bool) -> Result<()> {
        if keeps_existing || self.existing.is_empty() {
            return Ok(());
        }
        const MOST_LINES: usize = 50;
        let names = self.existing.iter().take(MOST_LINES).map(|oid| format!("large object {oid}"));
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            format!("{} of the large objects to create exist already; nothing was touched", self.existing.len()),
        )
        .details(names)
        .hint("With existing => 'keep' they stay as they are."))
    }

    /// Makes those that are missing, and returns their number. `owners` and `privileges` tell whether these are taken over.
    /// Roles that do not exist here are added to `no_roles`.
    pub fn make(
        &self,
        session: &Session,
        owners: bool,
        privileges: bool,
        no_roles: &mut BTreeSet<String>,
    ) -> Result<usize> {
        let missing: Vec<&LargeObject> =
            self.objects.iter().filter(|object| !self.existing.contains(&object.oid)).collect();
        let roles: BTreeSet<&str> = missing
            .iter()
            .flat_map(|object| {
                let grantees = object.grants.iter().flatten().filter_map(|grant| grant.grantee.as_deref());
                grantees.filter(|_| privileges).chain(Some(object.owner.as_str()).filter(|_| owners))
            })
            .collect();
        let roles: Vec<&str> = roles.into_iter().collect();
        let unknown = settings::with_catalog_settings(|| missing_roles(&roles))?;
        // Owners are given by who makes the objects: each ALTER LARGE OBJECT would lock its own until the transaction ends.
        let current = identity::current_role_name();
        let mut of_owner: BTreeMap<&str, Vec<&LargeObject>> = BTreeMap::new();
        for object in &missing {
            let is_taken = owners && !unknown.contains(&object.owner);
            of_owner.entry(if is_taken { object.owner.as_str() } else { current.as_str() }).or_default().push(object);
        }
        settings::with_catalog_settings(|| {
            for (owner, objects) in of_owner {
                let owner = if owner == current { None } else { Some(refuse_foreign_owner(owner)?) };
                objects.chunks(OBJECTS_AT_ONCE).try_for_each(|batch| make_batch(session, batch, owner))?;
            }
            Ok(())
        })?;
        let terms = Terms { owners, privileges, current, unknown: &unknown };
        identity::with_role_kept(|| -> Result<()> {
            for statement in statements(&missing, &terms) {
                interrupts::check();
                catch(|| spi::execute(&statement))?;
            }
            Ok(())
        })?;
        no_roles.extend(unknown);
        Ok(missing.len())
    }
}

/// Refuses objects for a role that the caller could not give them to, and returns the role.
fn refuse_foreign_owner(owner: &str) -> Result<u32> {
    let (role, may_become): (u32, bool) = spi::fixed::query_json(
        "SELECT json_build_array(r.oid::bigint, pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::int >= 160000
                                                                    THEN 'SET' ELSE 'MEMBER' END))::text
         FROM pg_roles r WHERE r.rolname = $1",
        &[Param::Text(owner)],
    )?;
    if may_become {
        return Ok(role);
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be member of role \"{owner}\", which owns large objects of the source"),
    )
    .hint("With owners => false the caller owns all that is made."))
}

/// Makes objects, for `owner` where that is another role than the caller.
fn make_batch(session: &Session, batch: &[&LargeObject], owner: Option<u32>) -> Result<()> {
    let as_owner = |work: &dyn Fn() -> Result<Option<String>>| match owner {
        Some(owner) => identity::run_as(identity::Role::TableOwner(owner), work),
        None => work(),
    };
    interrupts::check();
    let oids: Vec<u32> = batch.iter().map(|object| object.oid).collect();
    let values = read_large_objects_from(session, &oids, FIRST_PART)?;
    let (sent, texts): (Vec<u32>, Vec<String>) = values.iter().map(|(oid, value)| (*oid, digits(value))).unzip();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    if sent != oids {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "the source has sent other large objects"));
    }
    as_owner(&|| {
        spi::fixed::query_text(
            "SELECT count(lo_from_bytea(u.oid, decode(u.value, 'hex')))::text FROM unnest($1, $2) u(oid, value)",
            &[Param::OidArray(&oids), Param::TextArray(&texts)],
        )
    })?;
    for (oid, _) in values.iter().filter(|(_, value)| value.len() == FIRST_PART) {
        let mut offset = FIRST_PART as i64;
        loop {
            interrupts::check();
            let part = digits(&read_large_object_part(session, *oid, offset, NEXT_PART)?);
            as_owner(&|| {
                spi::fixed::query_text(
                    "SELECT lo_put($1, $2, decode($3, 'hex'))::text",
                    &[Param::Oid(*oid), Param::Int8(offset), Param::Text(&part)],
                )
            })?;
            offset += NEXT_PART as i64;
            if part.len() < 2 * NEXT_PART {
                break;
            }
        }
    }
    Ok(())
}

/// Returns bytes as hexadecimal digits.
fn digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

struct Terms<'a> {
    owners: bool,
    privileges: bool,
    current: String,
    /// Roles that do not exist here.
    unknown: &'a [String],
}

impl Terms<'_> {
    fn knows(&self, role: &str) -> bool {
        !self.unknown.iter().any(|unknown| unknown == role)
    }
}

/// Returns the statements for privileges and comments: one grant serves many objects.
fn statements(objects: &[&LargeObject], terms: &Terms<'_>) -> Vec<String> {
    let mut statements = Vec::new();
    let mut revoked: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    // Owners come first, as they do on the source.
    let mut granted: BTreeMap<(bool, String, &'static str, bool), Vec<u32>> = BTreeMap::new();
    for object in objects {
        let takes_owner = terms.owners && terms.knows(&object.owner);
        if let Some(comment) = &object.comment {
            statements.push(format!("COMMENT ON LARGE OBJECT {} IS {}", object.oid, plan::quote_literal(comment)));
        }
        if !terms.privileges || !object.has_grants {
            continue;
        }
        let owner = plan::quote_identifier(if takes_owner { &object.owner } else { &terms.current });
        let (of_owner, of_others): (Vec<_>, Vec<_>) = object
            .grants
            .iter()
            .flatten()
            .filter(|grant| grant.by_owner)
            .partition(|grant| grant.grantee.as_ref() == Some(&object.owner));
        // That is what an owner begins with.
        let has_all = of_owner.len() == PRIVILEGES.len() && of_owner.iter().all(|grant| !grant.is_grantable);
        if !has_all {
            revoked.entry(owner.clone()).or_default().push(object.oid);
        }
        for grant in of_owner.into_iter().filter(|_| !has_all).chain(of_others) {
            let (is_other, role) = match &grant.grantee {
                None => (true, "PUBLIC".to_owned()),
                Some(grantee) if *grantee == object.owner => (false, owner.clone()),
                Some(grantee) if terms.knows(grantee) => (true, plan::quote_identifier(grantee)),
                Some(_) => continue,
            };
            // The source writes nothing into a statement.
            let Some(privilege) = PRIVILEGES.into_iter().find(|known| *known == grant.privilege) else { continue };
            granted.entry((is_other, role, privilege, grant.is_grantable)).or_default().push(object.oid);
        }
    }
    let list = |oids: &[u32]| oids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    for (owner, oids) in revoked {
        statements.extend(
            oids.chunks(MOST_GRANTED).map(|oids| format!("REVOKE ALL ON LARGE OBJECT {} FROM {owner}", list(oids))),
        );
    }
    for ((_, role, privilege, is_grantable), oids) in granted {
        let option = if is_grantable { " WITH GRANT OPTION" } else { "" };
        statements.extend(
            oids.chunks(MOST_GRANTED)
                .map(|oids| format!("GRANT {privilege} ON LARGE OBJECT {} TO {role}{option}", list(oids))),
        );
    }
    statements
}
