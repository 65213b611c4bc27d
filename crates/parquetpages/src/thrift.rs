//! Thrift's compact protocol, read without trust: nothing is allocated, and nothing recurses deeper than it is allowed.

/// Why a structure cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes are needed than there are.
    Short,
    Bad(&'static str),
}

type Result<T> = std::result::Result<T, Fault>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    True,
    False,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Set,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    fn of(nibble: u8) -> Result<Kind> {
        Ok(match nibble {
            1 => Kind::True,
            2 => Kind::False,
            3 => Kind::Byte,
            4 => Kind::I16,
            5 => Kind::I32,
            6 => Kind::I64,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 => Kind::List,
            10 => Kind::Set,
            11 => Kind::Map,
            12 => Kind::Struct,
            13 => Kind::Uuid,
            _ => return Err(Fault::Bad("a value of a type that does not exist")),
        })
    }
}

/// How deep structures nest at most.
pub(crate) const DEPTH: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub id: i16,
    pub kind: Kind,
}

impl Field {
    pub fn expect(self, kind: Kind) -> Result<()> {
        if self.kind == kind { Ok(()) } else { Err(Fault::Bad("a field of another type than the format's")) }
    }

    pub fn bool(self) -> Result<bool> {
        match self.kind {
            Kind::True => Ok(true),
            Kind::False => Ok(false),
            _ => Err(Fault::Bad("a field of another type than the format's")),
        }
    }
}

/// The fields of one structure that were read already.
#[derive(Default)]
pub(crate) struct Fields {
    last: i16,
    seen: u64,
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader { rest: data }
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Bad("a number of more than 64 bits"))
    }

    pub fn i64(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn i32(&mut self) -> Result<i32> {
        i32::try_from(self.i64()?).map_err(|_| Fault::Bad("a number of more than 32 bits"))
    }

    /// A number of any width.
    pub fn integer(&mut self, field: Field) -> Result<i64> {
        match field.kind {
            Kind::Byte => Ok(i64::from(self.byte()? as i8)),
            Kind::I16 | Kind::I32 | Kind::I64 => self.i64(),
            _ => Err(Fault::Bad("a field of another type than the format's")),
        }
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| Fault::Short)
    }

    pub fn binary(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.bytes(length)
    }

    /// The kind and number of the elements that follow. As each takes a byte at least, the number is a possible one.
    pub fn list(&mut self) -> Result<(Kind, usize)> {
        let header = self.byte()?;
        if header == 0 {
            // What some writers put for a list of nothing.
            return Ok((Kind::Byte, 0));
        }
        let kind = Kind::of(header & 0x0f)?;
        let count = match header >> 4 {
            15 => self.length()?,
            count => usize::from(count),
        };
        self.possible(count)?;
        Ok((kind, count))
    }

    fn possible(&self, count: usize) -> Result<()> {
        if count > i32::MAX as usize {
            Err(Fault::Bad("a list of more than 2147483647 elements"))
        } else if count > self.rest.len() {
            Err(Fault::Short)
        } else {
            Ok(())
        }
    }

    /// The next field of a structure, or nothing at its end.
    pub fn field(&mut self, fields: &mut Fields) -> Result<Option<Field>> {
        let header = self.byte()?;
        if header == 0 {
            return Ok(None);
        }
        let kind = Kind::of(header & 0x0f)?;
        let id = match header >> 4 {
            0 => i16::try_from(self.i64()?).map_err(|_| Fault::Bad("a field number of more than 16 bits"))?,
            delta => fields.last.checked_add(i16::from(delta)).ok_or(Fault::Bad("a field number out of range"))?,
        };
        if let Ok(id @ 0..64) = u32::try_from(id) {
            if fields.seen >> id & 1 == 1 {
                return Err(Fault::Bad("a field that occurs twice"));
            }
            fields.seen |= 1 << id;
        }
        fields.last = id;
        Ok(Some(Field { id, kind }))
    }

    /// Passes a field of no interest.
    pub fn skip(&mut self, field: Field, depth: usize) -> Result<()> {
        match field.kind {
            Kind::True | Kind::False => Ok(()),
            kind => self.skip_value(kind, depth),
        }
    }

    /// Passes the elements of a list.
    pub fn skip_elements(&mut self, kind: Kind, count: usize, depth: usize) -> Result<()> {
        for _ in 0..count {
            self.skip_value(kind, depth)?;
        }
        Ok(())
    }

    /// Passes a value that is not a boolean field: those have no bytes of their own.
    fn skip_value(&mut self, kind: Kind, depth: usize) -> Result<()> {
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(Fault::Bad("structures nested too deeply"));
        };
        match kind {
            // An element of a list or a map: a byte, unlike a field.
            Kind::True | Kind::False | Kind::Byte => drop(self.byte()?),
            Kind::I16 | Kind::I32 | Kind::I64 => drop(self.varint()?),
            Kind::Double => drop(self.bytes(8)?),
            Kind::Uuid => drop(self.bytes(16)?),
            Kind::Binary => drop(self.binary()?),
            Kind::List | Kind::Set => {
                let (kind, count) = self.list()?;
                self.skip_elements(kind, count, deeper)?;
            }
            Kind::Map => {
                let count = self.length()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    self.possible(count)?;
                    let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0f)?);
                    for _ in 0..count {
                        self.skip_value(key, deeper)?;
                        self.skip_value(value, deeper)?;
                    }
                }
            }
            Kind::Struct => {
                let mut fields = Fields::default();
                while let Some(field) = self.field(&mut fields)? {
                    self.skip(field, deeper)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(data: &[u8]) -> Result<usize> {
        let mut reader = Reader::new(data);
        reader.skip(Field { id: 1, kind: Kind::Struct }, DEPTH)?;
        Ok(reader.remaining())
    }

    #[test]
    fn numbers() {
        assert_eq!(Reader::new(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).i32(), Ok(i32::MAX));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).i32(), Ok(i32::MIN));
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).i32().is_err());
        let widest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&widest).i64(), Ok(i64::MIN));
        assert!(matches!(Reader::new(&[0xff; 20]).i64(), Err(Fault::Bad(_))));
        assert_eq!(Reader::new(&[0x80; 5]).i64(), Err(Fault::Short));
    }

    #[test]
    fn depth_is_bounded() {
        // Each 0x1c opens a structure as the first field of the one around it.
        let nested = |levels: usize| [vec![0x1c; levels], vec![0; levels + 1]].concat();
        assert_eq!(skip(&nested(DEPTH - 1)), Ok(0));
        assert!(matches!(skip(&nested(DEPTH)), Err(Fault::Bad(_))));
        assert!(matches!(skip(&nested(1_000_000)), Err(Fault::Bad(_))));
        // Lists of one list of one list …
        assert!(matches!(skip(&[vec![0x19], vec![0x19; 1_000_000]].concat()), Err(Fault::Bad(_))));
    }

    #[test]
    fn sizes_are_possible() {
        // A list of 2147483647 bytes, then one of 2147483648, then a map and a string beyond the end.
        assert_eq!(skip(&[0x19, 0xf3, 0xff, 0xff, 0xff, 0xff, 0x07, 0]), Err(Fault::Short));
        assert!(matches!(skip(&[0x19, 0xf3, 0x80, 0x80, 0x80, 0x80, 0x08, 0]), Err(Fault::Bad(_))));
        assert_eq!(skip(&[0x1b, 0x7f, 0x55, 0, 0]), Err(Fault::Short));
        assert_eq!(skip(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(Fault::Short));
    }

    #[test]
    fn fields_are_distinct() {
        assert!(matches!(skip(&[0x15, 0, 0x05, 2, 0, 0]), Err(Fault::Bad(_))));
        assert_eq!(skip(&[0x15, 0, 0x15, 0, 0, 7]), Ok(1));
    }
}
