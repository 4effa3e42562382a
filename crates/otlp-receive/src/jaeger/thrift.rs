//! Thrift's binary and compact protocols, as much of them as a reader of structs needs.
//!
//! Sources: thrift-binary-protocol.md and thrift-compact-protocol.md of Apache Thrift. Keeps true: takes any bytes; a length is
//! compared with what is left before anything is made of it; structs are nested [`DEPTH`] deep at most.

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Binary,
    Compact,
}

/// What can be wrong with bytes.
pub(super) type Wrong = &'static str;

const CUT: Wrong = "the bytes end too early";
const DEPTH: u32 = 16;

/// A value's type. Lists and sets are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// The compact protocol writes a field's boolean into its type.
    Bool(Option<bool>),
    Byte,
    I16,
    I32,
    I64,
    Double,
    Text,
    List,
    Map,
    Struct,
}

/// Bytes being read.
#[derive(Debug)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
    protocol: Protocol,
    depth: u32,
}

/// Fields of one struct as they come.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Place {
    last: i16,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8], protocol: Protocol) -> Self {
        Self { rest: bytes, protocol, depth: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is longer than 10 bytes")
    }

    fn zigzag(&mut self) -> Result<i64, Wrong> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A length of something that takes at least `least` bytes for each.
    fn len(&mut self, least: usize) -> Result<usize, Wrong> {
        let len = match self.protocol {
            Protocol::Binary => u64::try_from(i32::from_be_bytes(self.array()?)).map_err(|_| "a length is negative")?,
            Protocol::Compact => self.varint()?,
        };
        self.within(len, least)
    }

    fn within(&self, len: u64, least: usize) -> Result<usize, Wrong> {
        let len = usize::try_from(len).map_err(|_| CUT)?;
        if len > self.rest.len() / least.max(1) { Err(CUT) } else { Ok(len) }
    }

    pub(super) fn i16(&mut self) -> Result<i16, Wrong> {
        match self.protocol {
            Protocol::Binary => self.array().map(i16::from_be_bytes),
            Protocol::Compact => self.zigzag().and_then(|n| i16::try_from(n).map_err(|_| "a number is too large")),
        }
    }

    pub(super) fn i32(&mut self) -> Result<i32, Wrong> {
        match self.protocol {
            Protocol::Binary => self.array().map(i32::from_be_bytes),
            Protocol::Compact => self.zigzag().and_then(|n| i32::try_from(n).map_err(|_| "a number is too large")),
        }
    }

    pub(super) fn i64(&mut self) -> Result<i64, Wrong> {
        match self.protocol {
            Protocol::Binary => self.array().map(i64::from_be_bytes),
            Protocol::Compact => self.zigzag(),
        }
    }

    pub(super) fn double(&mut self) -> Result<f64, Wrong> {
        match self.protocol {
            Protocol::Binary => self.array().map(f64::from_be_bytes),
            // The specification and all libraries but the oldest.
            Protocol::Compact => self.array().map(f64::from_le_bytes),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Wrong> {
        let len = self.len(1)?;
        self.take(len)
    }

    /// UTF-8; what is none is made such.
    pub(super) fn text(&mut self) -> Result<String, Wrong> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A field's boolean.
    pub(super) fn flag(&mut self, of: Type) -> Result<bool, Wrong> {
        match of {
            Type::Bool(Some(flag)) => Ok(flag),
            _ => self.byte().map(|byte| byte == 1),
        }
    }

    fn known(&self, code: u8) -> Result<Type, Wrong> {
        Ok(match (self.protocol, code) {
            (Protocol::Binary, 2) => Type::Bool(None),
            (Protocol::Binary, 3) | (Protocol::Compact, 3) => Type::Byte,
            (Protocol::Binary, 4) | (Protocol::Compact, 7) => Type::Double,
            (Protocol::Binary, 6) | (Protocol::Compact, 4) => Type::I16,
            (Protocol::Binary, 8) | (Protocol::Compact, 5) => Type::I32,
            (Protocol::Binary, 10) | (Protocol::Compact, 6) => Type::I64,
            (Protocol::Binary, 11) | (Protocol::Compact, 8) => Type::Text,
            (Protocol::Binary, 12) | (Protocol::Compact, 12) => Type::Struct,
            (Protocol::Binary, 13) | (Protocol::Compact, 11) => Type::Map,
            (Protocol::Binary, 14 | 15) | (Protocol::Compact, 9 | 10) => Type::List,
            (Protocol::Compact, 1) => Type::Bool(Some(true)),
            (Protocol::Compact, 2) => Type::Bool(Some(false)),
            _ => return Err("a field has a type that Thrift does not know"),
        })
    }

    /// Goes into a struct.
    pub(super) fn enter(&mut self) -> Result<Place, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH { Err("structs are nested too deeply") } else { Ok(Place::default()) }
    }

    /// The next field of the struct; `None`: there is none, and the struct is left.
    pub(super) fn field(&mut self, place: &mut Place) -> Result<Option<(i16, Type)>, Wrong> {
        let head = self.byte()?;
        if head == 0 {
            self.depth = self.depth.saturating_sub(1);
            return Ok(None);
        }
        match self.protocol {
            Protocol::Binary => {
                let of = self.known(head)?;
                Ok(Some((i16::from_be_bytes(self.array()?), of)))
            }
            Protocol::Compact => {
                let of = self.known(head & 0x0f)?;
                let number = match head >> 4 {
                    0 => self.i16()?,
                    more => place.last.checked_add(i16::from(more)).ok_or("a field's number is too large")?,
                };
                place.last = number;
                Ok(Some((number, of)))
            }
        }
    }

    /// The head of a list: how many, and of what.
    pub(super) fn list(&mut self) -> Result<(usize, Type), Wrong> {
        match self.protocol {
            Protocol::Binary => {
                let code = self.byte()?;
                let len = self.len(1)?;
                let of = if len == 0 { Type::Byte } else { self.known(code)? };
                Ok((len, of))
            }
            Protocol::Compact => {
                let head = self.byte()?;
                let len = match head >> 4 {
                    15 => self.len(1)?,
                    short => self.within(u64::from(short), 1)?,
                };
                let of = if len == 0 { Type::Byte } else { self.known(head & 0x0f)? };
                // In a list a boolean is a byte of its own.
                Ok((len, if matches!(of, Type::Bool(_)) { Type::Byte } else { of }))
            }
        }
    }

    /// Steps over a value.
    pub(super) fn skip(&mut self, of: Type) -> Result<(), Wrong> {
        match of {
            Type::Bool(Some(_)) => {}
            Type::Bool(None) | Type::Byte => drop(self.byte()?),
            Type::I16 => drop(self.i16()?),
            Type::I32 => drop(self.i32()?),
            Type::I64 => drop(self.i64()?),
            Type::Double => drop(self.double()?),
            Type::Text => drop(self.bytes()?),
            Type::Struct => {
                let mut place = self.enter()?;
                while let Some((_, of)) = self.field(&mut place)? {
                    self.skip(of)?;
                }
            }
            Type::List => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err("lists are nested too deeply");
                }
                let (len, of) = self.list()?;
                for _ in 0..len {
                    self.skip(of)?;
                }
                self.depth -= 1;
            }
            Type::Map => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err("maps are nested too deeply");
                }
                self.skip_map()?;
                self.depth -= 1;
            }
        }
        Ok(())
    }

    fn skip_map(&mut self) -> Result<(), Wrong> {
        let (len, key, value) = match self.protocol {
            Protocol::Binary => {
                let [key, value] = self.array()?;
                (self.len(2)?, key, value)
            }
            Protocol::Compact => {
                let len = self.len(1)?;
                let kinds = if len == 0 { 0 } else { self.byte()? };
                (len, kinds >> 4, kinds & 0x0f)
            }
        };
        if len == 0 {
            return Ok(());
        }
        let in_map = |of| if matches!(of, Type::Bool(_)) { Type::Byte } else { of };
        let (key, value) = (in_map(self.known(key)?), in_map(self.known(value)?));
        for _ in 0..len {
            self.skip(key)?;
            self.skip(value)?;
        }
        Ok(())
    }

    /// The head of a message: its name. What follows is the struct of its arguments.
    pub(super) fn message(&mut self) -> Result<&'a [u8], Wrong> {
        match self.protocol {
            Protocol::Binary => {
                let head = i32::from_be_bytes(self.array()?);
                let name = if head < 0 {
                    if head.cast_unsigned() >> 16 != 0x8001 {
                        return Err("this is no message of the binary protocol");
                    }
                    self.bytes()?
                } else {
                    // The older head, without a version.
                    let len = self.within(u64::from(head.cast_unsigned()), 1)?;
                    let name = self.take(len)?;
                    self.byte()?;
                    name
                };
                self.array::<4>()?;
                Ok(name)
            }
            Protocol::Compact => {
                let [protocol, version] = self.array()?;
                if protocol != 0x82 || version & 0x1f != 1 {
                    return Err("this is no message of the compact protocol");
                }
                self.varint()?;
                self.bytes()
            }
        }
    }
}
