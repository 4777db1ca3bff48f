//! Protocol buffers without their definitions, to change one field of a message.

/// A protocol buffer, taken apart and put together again by hand: a field is its number, its wire
/// type and what it holds.
#[derive(Clone)]
pub struct Message(pub Vec<(u64, Field)>);

/// What a field holds.
#[derive(Clone)]
pub enum Field {
    Number(u64),
    Bytes(Vec<u8>),
    Fixed(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            break;
        }
    }
    value
}

pub fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

impl Message {
    pub fn parse(mut bytes: &[u8]) -> Message {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(value.to_vec())
                }
                wire => {
                    let (value, rest) = bytes.split_at(if wire == 1 { 8 } else { 4 });
                    bytes = rest;
                    Field::Fixed(value.to_vec())
                }
            };
            fields.push((tag >> 3, field));
        }
        Message(fields)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, field) in &self.0 {
            match field {
                Field::Number(value) => {
                    push_varint(&mut bytes, number << 3);
                    push_varint(&mut bytes, *value);
                }
                Field::Bytes(value) => {
                    push_varint(&mut bytes, number << 3 | 2);
                    push_varint(&mut bytes, value.len() as u64);
                    bytes.extend(value);
                }
                Field::Fixed(value) => {
                    push_varint(&mut bytes, number << 3 | if value.len() == 8 { 1 } else { 5 });
                    bytes.extend(value);
                }
            }
        }
        bytes
    }

    /// Replaces a field, or adds it.
    pub fn set(&mut self, number: u64, field: Field) {
        self.0.retain(|(n, _)| *n != number);
        self.0.push((number, field));
    }

    pub fn number(&mut self, number: u64, value: i64) {
        self.set(number, Field::Number(value as u64));
    }

    /// Changes the message that is the `index`-th field with this number.
    pub fn within(&mut self, number: u64, index: usize, change: impl FnOnce(&mut Message)) {
        let (_, field) = self.0.iter_mut().filter(|(n, _)| *n == number).nth(index).unwrap();
        let Field::Bytes(bytes) = field else { panic!("field {number} is no message") };
        let mut message = Message::parse(bytes);
        change(&mut message);
        *bytes = message.bytes();
    }
}
