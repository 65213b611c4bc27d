//! A JSON parser that keeps a document as a list of nodes, in memory that the next document uses again.

/// Bytes of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// A string's bytes: as they stand in the input, or in the parser's memory where escapes had to be resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text {
    Input(Span),
    Resolved(Span),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Span),
    String(Text),
    /// Children stand side by side.
    Array {
        first: usize,
        count: usize,
    },
    /// Keys and values in turns, `count` pairs.
    Object {
        first: usize,
        count: usize,
    },
}

/// The deepest document. Deeper ones are left to the server, which watches its stack.
const DEEPEST: usize = 200;
/// The most values and keys. Larger documents are left to the server: a node takes more memory than the shortest value
/// in the text.
pub(crate) const MOST_NODES: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Parser {
    /// Children of finished containers.
    children: Vec<Node>,
    /// Children of containers that are not yet finished.
    pending: Vec<Node>,
    resolved: Vec<u8>,
}

impl Parser {
    pub(crate) fn parse(&mut self, text: &[u8]) -> Option<Node> {
        self.children.clear();
        self.pending.clear();
        self.resolved.clear();
        let mut cursor = Cursor { text, position: 0 };
        let root = self.value(&mut cursor, 0)?;
        cursor.skip_space();
        (cursor.position == text.len()).then_some(root)
    }

    /// Returns the bytes that the parser holds.
    pub(crate) fn memory(&self) -> usize {
        (self.children.capacity() + self.pending.capacity()) * size_of::<Node>() + self.resolved.capacity()
    }

    /// Nothing when there would be too many.
    #[inline]
    fn add(&mut self, node: Node) -> Option<()> {
        if self.children.len() + self.pending.len() >= MOST_NODES {
            return None;
        }
        self.pending.push(node);
        Some(())
    }

    pub(crate) fn children(&self, first: usize, count: usize) -> &[Node] {
        &self.children[first..first + count]
    }

    pub(crate) fn string<'a>(&'a self, text: &'a [u8], string: Text) -> &'a [u8] {
        match string {
            Text::Input(span) => &text[span.start..span.start + span.length],
            Text::Resolved(span) => &self.resolved[span.start..span.start + span.length],
        }
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Option<Node> {
        cursor.skip_space();
        match cursor.peek()? {
            b'{' => self.object(cursor, depth),
            b'[' => self.array(cursor, depth),
            b'"' => self.string_value(cursor).map(Node::String),
            b't' => cursor.word(b"true").then_some(Node::Bool(true)),
            b'f' => cursor.word(b"false").then_some(Node::Bool(false)),
            b'n' => cursor.word(b"null").then_some(Node::Null),
            b'-' | b'0'..=b'9' => cursor.number().map(Node::Number),
            _ => None,
        }
    }

    fn array(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Option<Node> {
        let begun = self.pending.len();
        cursor.position += 1;
        cursor.skip_space();
        if depth == DEEPEST {
            return None;
        }
        if cursor.peek()? == b']' {
            cursor.position += 1;
            return Some(Node::Array { first: self.children.len(), count: 0 });
        }
        loop {
            let value = self.value(cursor, depth + 1)?;
            self.add(value)?;
            cursor.skip_space();
            match cursor.next()? {
                b',' => {}
                b']' => break,
                _ => return None,
            }
        }
        let first = self.finish(begun);
        Some(Node::Array { first, count: self.children.len() - first })
    }

    fn object(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Option<Node> {
        let begun = self.pending.len();
        cursor.position += 1;
        cursor.skip_space();
        if depth == DEEPEST {
            return None;
        }
        if cursor.peek()? == b'}' {
            cursor.position += 1;
            return Some(Node::Object { first: self.children.len(), count: 0 });
        }
        loop {
            cursor.skip_space();
            if cursor.peek()? != b'"' {
                return None;
            }
            let key = self.string_value(cursor)?;
            self.add(Node::String(key))?;
            cursor.skip_space();
            if cursor.next()? != b':' {
                return None;
            }
            let value = self.value(cursor, depth + 1)?;
            self.add(value)?;
            cursor.skip_space();
            match cursor.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        let first = self.finish(begun);
        Some(Node::Object { first, count: (self.children.len() - first) / 2 })
    }

    /// Moves the children of a finished container to their final place.
    fn finish(&mut self, begun: usize) -> usize {
        let first = self.children.len();
        self.children.extend(self.pending.drain(begun..));
        first
    }

    fn string_value(&mut self, cursor: &mut Cursor<'_>) -> Option<Text> {
        cursor.position += 1;
        let start = cursor.position;
        loop {
            match cursor.next()? {
                b'"' => return Some(Text::Input(Span { start, length: cursor.position - 1 - start })),
                b'\\' => break,
                0..0x20 => return None,
                _ => {}
            }
        }
        let resolved = self.resolved.len();
        self.resolved.extend_from_slice(&cursor.text[start..cursor.position - 1]);
        self.escape(cursor)?;
        loop {
            match cursor.next()? {
                b'"' => break,
                b'\\' => self.escape(cursor)?,
                0..0x20 => return None,
                byte => self.resolved.push(byte),
            }
        }
        Some(Text::Resolved(Span { start: resolved, length: self.resolved.len() - resolved }))
    }

    fn escape(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let byte = match cursor.next()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = cursor.unicode()?;
                let mut bytes = [0; 4];
                self.resolved.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        self.resolved.push(byte);
        Some(())
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let matches = self.text[self.position..].starts_with(word);
        self.position += word.len();
        matches
    }

    fn digits(&mut self) -> usize {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        self.position - start
    }

    fn number(&mut self) -> Option<Span> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        let first = self.peek()?;
        let whole = self.digits();
        if whole == 0 || (first == b'0' && whole > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        Some(Span { start, length: self.position - start })
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value << 4 | char::from(self.next()?).to_digit(16)?))
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hexadecimal()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if self.next()? != b'\\' || self.next()? != b'u' {
                return None;
            }
            let second = self.hexadecimal().filter(|second| (0xdc00..0xe000).contains(second))?;
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).filter(|&character| character != '\0')
    }
}
