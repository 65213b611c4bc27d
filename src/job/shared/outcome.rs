//! What became of a job: its first error, and what its leader and its workers had to say.

use super::Shared;
use super::layout::{ERROR_BYTES, MESSAGES_BYTES, WORDS_BYTES, WordsSlot};
use crate::error::{Error, capped};
use crate::local::messages::MORE_MESSAGES;
use std::sync::atomic::Ordering::SeqCst;

impl Shared {
    pub(in super::super) fn has_failed(&self) -> bool {
        self.header().failed.load(SeqCst) != 0
    }

    /// Makes every process of the job stop, without a reason of its own.
    pub(in super::super) fn abandon(&self) {
        self.header().failed.store(1, SeqCst);
        self.wake_everybody();
    }

    /// Makes every process of the job stop. The first error is the one that counts.
    pub(in super::super) fn fail(&self, error: &Error) {
        self.note_error(error);
        self.abandon();
    }

    /// Says why the job is about to fail. The first error is the one that counts.
    pub(in super::super) fn note_error(&self, error: &Error) {
        let header = self.header();
        if header.error_state.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            let mut json = serde_json::to_vec(error).unwrap_or_default();
            // Characters may take several times their size in JSON.
            for most in [4096, 1024, 256] {
                if json.len() <= ERROR_BYTES {
                    break;
                }
                json = serde_json::to_vec(&error.capped(most)).unwrap_or_default();
            }
            // SAFETY: only the process that moved the state from 0 to 1 writes the text, and nobody reads it before 2.
            unsafe {
                let text = header.error.get().cast::<u8>();
                std::ptr::copy_nonoverlapping(json.as_ptr(), text, json.len().min(ERROR_BYTES));
            }
            header.error_length.store(json.len() as u32, SeqCst);
            header.error_state.store(2, SeqCst);
        }
    }

    pub(in super::super) fn error(&self) -> Option<Error> {
        let header = self.header();
        if header.error_state.load(SeqCst) != 2 {
            return None;
        }
        // SAFETY: the text was written before the state became 2, and nobody changes it.
        let text = unsafe { &*header.error.get() };
        serde_json::from_slice(text.get(..header.error_length.load(SeqCst) as usize)?).ok()
    }

    /// Tells the steward what the leader had to say, once, when the leader has done its part or given up.
    pub(in super::super) fn note_messages(&self, messages: &[String]) {
        let header = self.header();
        let json = serde_json::to_vec(messages).unwrap_or_default();
        if json.len() > MESSAGES_BYTES || header.messages_state.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
            return;
        }
        // SAFETY: only who moved the state from 0 to 1 writes the text, and nobody reads it before 2.
        unsafe { std::ptr::copy_nonoverlapping(json.as_ptr(), header.messages.get().cast::<u8>(), json.len()) };
        header.messages_length.store(json.len() as u32, SeqCst);
        header.messages_state.store(2, SeqCst);
    }

    /// `None` as long as the leader has not told.
    fn messages(&self) -> Option<Vec<String>> {
        let header = self.header();
        if header.messages_state.load(SeqCst) != 2 {
            return None;
        }
        // SAFETY: the text was written before the state became 2, and nobody changes it.
        let text = unsafe { &*header.messages.get() };
        serde_json::from_slice(text.get(..header.messages_length.load(SeqCst) as usize)?).ok()
    }

    /// Tells the steward what a worker had to say, unless another worker has said the same.
    pub(in super::super) fn add_words(&self, texts: &[String]) {
        let header = self.header();
        for text in texts {
            let text = capped(text, WORDS_BYTES);
            if self.words().any(|said| said == text) {
                continue;
            }
            let place = header.claimed_words.fetch_add(1, SeqCst) as usize;
            let Some(slot) = header.words.get(place) else { return };
            // SAFETY: only the process that has claimed the place writes it, and nobody reads it before the length is set.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), slot.text.get().cast::<u8>(), text.len()) };
            slot.length.store(text.len() as u32, SeqCst);
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let read = |slot: &WordsSlot| {
            // SAFETY: the text was written before its length was set, and nobody changes it.
            let text = unsafe { &*slot.text.get() };
            std::str::from_utf8(text.get(..slot.length.load(SeqCst) as usize)?).ok()
        };
        self.header().words.iter().filter_map(read).filter(|text| !text.is_empty())
    }

    /// All that the leader and the workers had to say; of the leader `so_far`, where it has not told.
    pub(in super::super) fn all_messages(&self, so_far: &[String]) -> Vec<String> {
        let mut messages = self.messages().unwrap_or_else(|| so_far.to_vec());
        for text in self.words() {
            if !messages.iter().any(|said| said == text) {
                messages.push(text.to_owned());
            }
        }
        let were_more = self.header().claimed_words.load(SeqCst) as usize > self.header().words.len();
        if were_more && !messages.iter().any(|said| said == MORE_MESSAGES) {
            messages.push(MORE_MESSAGES.to_owned());
        }
        messages
    }
}
