//! What a call says without effect. People keep one document of `tables`, and one list of arguments, for several calls: it is no
//! error, but they are told.

use super::selection::choice_of;
use super::{From, Prepared, Request};
use crate::local::interrupts;
use crate::order::Mode;
use plan::catalog::Relation;
use selection::Selection;
use std::collections::{BTreeMap, HashMap};

/// What `tables` says without effect, in sentences, by the OIDs of the source's tables.
#[derive(Default)]
pub(super) struct Idle(HashMap<u32, Vec<String>>);

impl Idle {
    pub(super) fn in_pull(selection: &Selection, sources: &[Relation], mode: Mode, follows_keys: bool) -> Self {
        let key = format!("key in tables has no effect with mode => '{}'", mode.name());
        let references = "references in tables have no effect without follow_keys => true".to_owned();
        Self::of(selection, sources, (!mode.needs_key()).then_some(key), (!follows_keys).then_some(references))
    }

    pub(super) fn in_comparison(selection: &Selection, sources: &[Relation]) -> Self {
        let key = "key in tables has no effect in a comparison".to_owned();
        let references =
            "references in tables have no effect in a comparison: rows that follow_keys leaves out are missing here";
        Self::of(selection, sources, Some(key), Some(references.to_owned()))
    }

    /// The sentences are about settings that have no effect at all.
    fn of(selection: &Selection, sources: &[Relation], key: Option<String>, references: Option<String>) -> Self {
        let mut idle = Self::default();
        if selection.is_empty() {
            return idle;
        }
        let all: HashMap<u32, &Relation> = sources.iter().map(|relation| (relation.oid, relation)).collect();
        for table in sources.iter().filter(|table| table.is_table()) {
            interrupts::check();
            // A contradiction is told of where the choice is made.
            let Ok(choice) = choice_of(selection, table, &all) else { continue };
            let key = key.clone().filter(|_| choice.index.is_some());
            let references = references.clone().filter(|_| choice.references.is_some());
            let sentences: Vec<String> = key.into_iter().chain(references).collect();
            if !sentences.is_empty() {
                idle.0.insert(table.oid, sentences);
            }
        }
        idle
    }

    pub(super) fn of_table(&self, source: u32) -> &[String] {
        self.0.get(&source).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns a line for each sentence, with the tables that it is about.
    pub(super) fn lines<'a>(&self, tables: impl Iterator<Item = &'a Relation>) -> Vec<String> {
        const MOST_NAMES: usize = 3;
        let mut of_sentence: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for table in tables {
            for sentence in self.of_table(table.oid) {
                of_sentence.entry(sentence.as_str()).or_default().push(table.qualified_name());
            }
        }
        let line = |(sentence, mut names): (&str, Vec<String>)| {
            let others = names.len().saturating_sub(MOST_NAMES);
            names.truncate(MOST_NAMES);
            let others = if others > 0 { format!(", and {others} more") } else { String::new() };
            format!("{sentence} ({}{others})", names.join(", "))
        };
        of_sentence.into_iter().map(line).collect()
    }
}

/// Returns sentences on the arguments that have no effect beside the others.
fn idle_arguments(request: &Request, selection: &Selection, mode: Mode) -> Vec<String> {
    let mut sentences = Vec::new();
    if !request.triggers && !mode.merges() {
        sentences.push(format!("triggers => false has no effect with mode => '{}', which fires none", mode.name()));
    }
    if !request.validate && mode.merges() {
        sentences.push(format!(
            "validate => false has no effect with mode => '{}', whose statements check foreign keys",
            mode.name()
        ));
    }
    if !request.validate && request.in_place {
        sentences.push("validate => false has no effect with method => 'in place'".to_owned());
    }
    sentences.extend(idle_key(request.mask_key.as_deref(), selection));
    sentences
}

/// Returns a sentence on a key of masks that nothing depends on.
pub(super) fn idle_key(mask_key: Option<&str>, selection: &Selection) -> Option<String> {
    let is_idle = mask_key.is_some() && !selection.needs_key();
    is_idle.then(|| "mask_key has no effect, because no mask in tables needs it".to_owned())
}

impl Prepared {
    /// Notes what the call says without effect, with the targets and for the caller.
    pub(super) fn note_idle(&mut self, request: &Request, selection: &Selection, idle: &Idle) {
        let From::Server(side) = &self.from else { return };
        if self.targets.is_empty() {
            return;
        }
        for (target, counterpart) in self.targets.iter_mut().zip(&side.counterparts) {
            target.warnings.extend_from_slice(idle.of_table(counterpart.relation.oid));
        }
        self.notices.extend(idle.lines(side.counterparts.iter().map(|counterpart| &counterpart.relation)));
        self.notices.extend(idle_arguments(request, selection, self.terms.mode));
    }
}
