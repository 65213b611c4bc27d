//! The choice of a codec while rows are sent: what pays on this link, with these rows and this processor.

use crate::Codec;

/// A codec with its level.
pub type Choice = (Codec, i32);

/// From the one that needs no processor to the one that needs most. Higher levels are slower than the links that pulls go over.
const CANDIDATES: [Choice; 4] = [(Codec::None, 0), (Codec::Lz4, 0), (Codec::Zstd, 1), (Codec::Zstd, 3)];

/// The one to begin with where nothing is known: it costs little if the link is fast, and is half of the way if it is slow.
const FIRST: usize = 1;

/// The frames between two decisions, and the seconds after which fewer are enough: on a slow link each of them takes long.
const WINDOW: usize = 8;
const WINDOW_SECONDS: f64 = 0.3;

/// Seconds for which a link counts as one that is waited for.
const SLOW_SECONDS: f64 = 2.0;

/// Bytes of frames that must have left without a wait before the rows are no longer compressed: buffers on the way take
/// several megabytes, whatever the link.
const LEFT_WITHOUT_WAIT: f64 = 8e6;

/// A sender that waits for a smaller part of its time does not wait for the link: handing over bytes takes time, too.
const WAITING: f64 = 0.2;

/// The gain for which the codec is changed.
const GAIN: f64 = 1.05;

/// Seconds after which a measurement of the link, or of a codec, is too old.
const OLD: f64 = 5.0;

/// Seconds of waiting for the link that are looked at before a stronger codec is judged: what is between takes bytes in bursts.
const JUDGED_SECONDS: f64 = 1.0;

/// Seconds for which the rows are left alone after compression did not help, at first. The time doubles.
const FIRST_HOLD: f64 = 10.0;
const LONGEST_HOLD: f64 = 160.0;

/// What a frame took, in seconds and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub piece: usize,
    pub frame: usize,
    pub making: f64,
    pub compressing: f64,
    /// The time until the frame had left.
    pub sending: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// The time of the measurement; 0 for none.
    at: f64,
    /// The part of the bytes that is left.
    ratio: f64,
    /// Seconds for a byte.
    cost: f64,
}

/// Chooses the codec of each frame of a session.
///
/// The time for a byte is the greater one of the processor's, which makes and compresses, and of the link's: buffers let both
/// work at once. How fast the link is shows only while it is waited for. A receiver that is slow looks like a slow link; there
/// compression does not help, which is seen by trying.
pub struct Adaptive {
    current: usize,
    measured: [Measured; CANDIDATES.len()],
    /// Bytes of frames that the link takes in a second, and when it was measured.
    link: Option<(f64, f64)>,
    window: Vec<Sent>,
    now: f64,
    /// Until then nothing is changed.
    held_until: f64,
    hold: f64,
    /// The rows' bytes in a second before compression was taken up, or strengthened.
    before: Option<f64>,
    /// The rows' bytes since then, and the seconds that they took, while the link was waited for.
    since: (f64, f64),
    /// Until then windows are as long as they can be.
    slow_until: f64,
    /// The windows since the codec was changed.
    windows: usize,
    /// Bytes of frames that have left since the link was last waited for.
    unwaited: f64,
    /// The last windows in which the link was waited for. In the first of them buffers have taken a part of the frames, so that
    /// it does not tell how fast the link is.
    waited: usize,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            current: FIRST,
            measured: Default::default(),
            link: None,
            window: Vec::with_capacity(WINDOW),
            now: 0.0,
            held_until: 0.0,
            hold: FIRST_HOLD,
            before: None,
            since: (0.0, 0.0),
            slow_until: 0.0,
            windows: 0,
            unwaited: 0.0,
            waited: 0,
        }
    }
}

impl Adaptive {
    /// Returns the codec for the next frame.
    pub fn choice(&self) -> Choice {
        CANDIDATES[self.current]
    }

    /// Learns what the frame before took. `try_codec` compresses the piece that comes next, for a measurement, and returns the
    /// bytes and the seconds.
    pub fn note(&mut self, sent: Sent, mut try_codec: impl FnMut(Choice) -> (usize, f64)) {
        self.now += sent.making + sent.compressing + sent.sending;
        self.window.push(sent);
        let seconds: f64 = self.window.iter().map(|sent| sent.making + sent.compressing + sent.sending).sum();
        // Where the link was waited for lately, frames leave in bursts: as many as there is room for, and then none for a while.
        let is_slow = self.now < self.slow_until;
        if seconds < WINDOW_SECONDS && (is_slow || self.window.len() < WINDOW) {
            return;
        }
        let sum = |part: fn(&Sent) -> f64| self.window.iter().map(part).sum::<f64>();
        let (pieces, frames) = (sum(|sent| sent.piece as f64).max(1.0), sum(|sent| sent.frame as f64).max(1.0));
        let (making, compressing, sending) =
            (sum(|sent| sent.making), sum(|sent| sent.compressing), sum(|sent| sent.sending));
        let piece = sent.piece;
        self.window.clear();
        let elapsed = (making + compressing + sending).max(1e-9);
        self.measured[self.current] = Measured { at: self.now, ratio: frames / pieces, cost: compressing / pieces };
        let waits = sending / elapsed > WAITING;
        if waits {
            self.slow_until = self.now + SLOW_SECONDS;
        }
        self.windows += 1;
        self.waited = if waits { self.waited + 1 } else { 0 };
        self.unwaited = if waits { 0.0 } else { self.unwaited + frames };
        if self.windows == 1 || self.waited == 1 {
            // Frames of the codec before are still on their way, or in buffers.
            return;
        }
        if let Some(before) = self.before
            && waits
        {
            self.since = (self.since.0 + pieces, self.since.1 + elapsed);
            if self.since.1 < JUDGED_SECONDS {
                return;
            }
            self.before = None;
            if self.since.0 / self.since.1 < before * GAIN {
                // The receiver is what is waited for.
                self.change_to(0);
                self.link = None;
                self.held_until = self.now + self.hold;
                self.hold = (self.hold * 2.0).min(LONGEST_HOLD);
                return;
            }
        }
        if waits {
            let measured = frames / elapsed;
            let smoothed = match self.link {
                Some((link, at)) if self.now - at < OLD => (link + measured) / 2.0,
                _ => measured,
            };
            self.link = Some((smoothed, self.now));
        } else if self.link.is_some_and(|(_, at)| self.now - at > OLD) {
            self.link = None;
        }
        if self.now < self.held_until {
            return;
        }
        if waits && piece > 0 {
            for (position, choice) in CANDIDATES.into_iter().enumerate() {
                let measured = &mut self.measured[position];
                if position != self.current && (measured.at == 0.0 || self.now - measured.at > OLD) {
                    let (bytes, seconds) = if choice.0 == Codec::None { (piece, 0.0) } else { try_codec(choice) };
                    *measured =
                        Measured { at: self.now, ratio: bytes as f64 / piece as f64, cost: seconds / piece as f64 };
                }
            }
        }
        let best = self.best(making / pieces);
        if best != self.current && (best > 0 || waits || self.unwaited > LEFT_WITHOUT_WAIT) {
            let ratio = self.measured[self.current].ratio.max(1e-6);
            let before = self.link.map(|(link, _)| link / ratio).filter(|_| best > self.current);
            self.change_to(best);
            self.before = before;
        }
    }

    fn change_to(&mut self, candidate: usize) {
        self.current = candidate;
        self.windows = 0;
        self.before = None;
        self.since = (0.0, 0.0);
    }

    /// Returns the candidate that sends most rows; of those that are about as good, the one that needs the processor least.
    fn best(&self, making: f64) -> usize {
        let Some((link, _)) = self.link else { return 0 };
        let rate = |measured: &Measured| 1.0 / (making + measured.cost).max(measured.ratio / link).max(1e-12);
        let mut best = 0;
        let mut best_rate = rate(&Measured { at: 0.0, ratio: 1.0, cost: 0.0 });
        for (position, measured) in self.measured.iter().enumerate().skip(1) {
            if measured.at > 0.0 && rate(measured) > best_rate * GAIN {
                (best, best_rate) = (position, rate(measured));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender over a link, with a buffer between them.
    struct Link {
        bytes_per_second: f64,
        /// Rows' bytes that the receiver takes in a second.
        receiver: f64,
        queued: f64,
        time: f64,
        rows: f64,
    }

    const PIECE: usize = 240 * 1024;
    const BUFFER: f64 = 4_000_000.0;
    const MAKING: f64 = PIECE as f64 / 100e6;

    fn ratio_and_speed(choice: Choice) -> (f64, f64) {
        match choice {
            (Codec::None, _) => (1.0, f64::INFINITY),
            (Codec::Lz4, _) => (0.5, 600e6),
            (_, 1) => (0.33, 300e6),
            _ => (0.3, 180e6),
        }
    }

    impl Link {
        fn new(bytes_per_second: f64) -> Self {
            Self { bytes_per_second, receiver: f64::INFINITY, queued: 0.0, time: 0.0, rows: 0.0 }
        }

        fn send(&mut self, adaptive: &mut Adaptive, frames: usize) {
            for _ in 0..frames {
                let (ratio, speed) = ratio_and_speed(adaptive.choice());
                let compressing = PIECE as f64 / speed;
                let frame = PIECE as f64 * ratio;
                let drain = self.bytes_per_second.min(self.receiver * ratio);
                let working = MAKING + compressing;
                self.queued = (self.queued - working * drain).max(0.0) + frame;
                let handing_over = 0.0001;
                let blocked = ((self.queued - BUFFER) / drain).max(0.0);
                self.queued -= blocked * drain;
                let sending = handing_over + blocked;
                self.time += working + sending;
                self.rows += PIECE as f64;
                let sent = Sent { piece: PIECE, frame: frame as usize, making: MAKING, compressing, sending };
                adaptive.note(sent, |choice| {
                    let (ratio, speed) = ratio_and_speed(choice);
                    ((PIECE as f64 * ratio) as usize, PIECE as f64 / speed)
                });
            }
        }

        /// Returns the rows' bytes in a second while so many frames are sent.
        fn rate(&mut self, adaptive: &mut Adaptive, frames: usize) -> f64 {
            let (time, rows) = (self.time, self.rows);
            self.send(adaptive, frames);
            (self.rows - rows) / (self.time - time)
        }
    }

    #[test]
    fn a_slow_link_gets_the_strongest_codec() {
        for bytes_per_second in [1.25e6, 12.5e6] {
            let (mut adaptive, mut link) = (Adaptive::default(), Link::new(bytes_per_second));
            link.send(&mut adaptive, 150);
            assert_eq!(adaptive.choice(), (Codec::Zstd, 3));
            let rate = link.rate(&mut adaptive, 200);
            assert!(rate > bytes_per_second / 0.3 * 0.95, "{rate}");
        }
    }

    #[test]
    fn a_slow_link_is_soon_found_out() {
        for bytes_per_second in [0.6e6, 1.25e6, 6e6] {
            let (mut adaptive, mut link) = (Adaptive::default(), Link::new(bytes_per_second));
            let mut uncompressed = 0;
            for _ in 0..500 {
                uncompressed += usize::from(adaptive.choice().0 == Codec::None);
                link.send(&mut adaptive, 1);
            }
            assert_eq!(uncompressed, 0, "{bytes_per_second}");
            assert_eq!(adaptive.choice(), (Codec::Zstd, 3));
        }
    }

    /// A tunnel passes on what it holds every now and then.
    #[test]
    fn a_slow_link_that_takes_bytes_in_bursts_is_no_slow_receiver() {
        const BURST: f64 = 0.4;
        for bytes_per_second in [1.25e6, 3e6] {
            let mut adaptive = Adaptive::default();
            let (mut queued, mut time, mut uncompressed) = (0.0, 0.0_f64, 0);
            for _ in 0..600 {
                let (ratio, speed) = ratio_and_speed(adaptive.choice());
                uncompressed += usize::from(adaptive.choice().0 == Codec::None);
                let frame = PIECE as f64 * ratio;
                let compressing = PIECE as f64 / speed;
                let begun = time;
                time += MAKING + compressing;
                queued += frame;
                let mut sending = 0.0001;
                while queued > BUFFER {
                    let next = (time / BURST).floor() * BURST + BURST;
                    sending += next - time;
                    time = next + 1e-9;
                    queued = (queued - bytes_per_second * BURST).max(0.0);
                }
                assert!(time >= begun);
                let sent = Sent { piece: PIECE, frame: frame as usize, making: MAKING, compressing, sending };
                adaptive.note(sent, |choice| {
                    let (ratio, speed) = ratio_and_speed(choice);
                    ((PIECE as f64 * ratio) as usize, PIECE as f64 / speed)
                });
            }
            assert_eq!(uncompressed, 0, "{bytes_per_second}");
            assert_eq!(adaptive.choice(), (Codec::Zstd, 3));
        }
    }

    #[test]
    fn a_fast_link_gets_none() {
        let (mut adaptive, mut link) = (Adaptive::default(), Link::new(1250e6));
        link.send(&mut adaptive, 100);
        assert_eq!(adaptive.choice().0, Codec::None);
        let rate = link.rate(&mut adaptive, 2000);
        assert!(rate > 100e6 * 0.95, "{rate}");
    }

    #[test]
    fn a_link_between_gets_what_is_best() {
        // None sends 60 MB/s of rows, LZ4 86, and Zstandard 75 at most.
        let (mut adaptive, mut link) = (Adaptive::default(), Link::new(60e6));
        link.send(&mut adaptive, 100);
        let rate = link.rate(&mut adaptive, 3000);
        assert!(rate > 80e6, "{rate}");
    }

    #[test]
    fn the_choice_follows_the_link() {
        let (mut adaptive, mut link) = (Adaptive::default(), Link::new(1250e6));
        link.send(&mut adaptive, 100);
        link.bytes_per_second = 5e6;
        link.send(&mut adaptive, 100);
        assert_eq!(adaptive.choice(), (Codec::Zstd, 3));
        link.bytes_per_second = 1250e6;
        link.send(&mut adaptive, 3000);
        assert_eq!(adaptive.choice().0, Codec::None);
    }

    #[test]
    fn a_slow_receiver_is_not_taken_for_a_slow_link() {
        let (mut adaptive, mut link) = (Adaptive::default(), Link::new(1250e6));
        link.receiver = 50e6;
        link.send(&mut adaptive, 100);
        let mut compressed = 0;
        for _ in 0..2000 {
            compressed += usize::from(adaptive.choice().0 != Codec::None);
            link.send(&mut adaptive, 1);
        }
        assert!(compressed < 400, "{compressed} of 2000 frames");
    }
}
