//! Reads the tables and hex blocks of FORMAT.md.
//!
//! Each hex block follows the table of its fields; the table's *golden* column holds their values.

use std::collections::BTreeMap;

/// A field of a table.
pub(crate) struct Field {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) name: String,
    /// What the golden column says, as the bytes it stands for.
    pub(crate) bytes: Vec<u8>,
}

/// A structure of the document: the fields that its table states and the bytes of its hex block.
pub(crate) struct Golden {
    pub(crate) fields: Vec<Field>,
    /// Rows of a table of bit fields: first bit, width, name, value.
    pub(crate) bits: Vec<(u32, u32, String, u64)>,
    pub(crate) bytes: Vec<u8>,
}

impl Golden {
    /// The value of an integer field, as the table states it.
    pub(crate) fn value(&self, name: &str) -> u64 {
        if let Some((.., value)) = self.bits.iter().find(|(_, _, field, _)| field == name) {
            return *value;
        }
        let bytes = self.raw(name);
        assert!(bytes.len() <= 8, "{name} is no integer");
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The same, for a field of that many bits.
    pub(crate) fn narrow<T: TryFrom<u64>>(&self, name: &str) -> T {
        T::try_from(self.value(name)).ok().expect("a value of the field's width")
    }

    /// Whether the table has a field of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// The bytes of a field, as the table states them.
    pub(crate) fn raw(&self, name: &str) -> &[u8] {
        let field = self.fields.iter().find(|field| field.name == name);
        &field.unwrap_or_else(|| panic!("no field {name} in the table")).bytes
    }
}

/// All structures of the document by the names of their hex blocks.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Golden> {
    let mut all = BTreeMap::new();
    let (mut fields, mut bits) = (Vec::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```hex ") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            let bytes = block.flat_map(hex_line).collect();
            let golden = Golden {
                fields: std::mem::take(&mut fields),
                bits: std::mem::take(&mut bits),
                bytes,
            };
            assert!(all.insert(name.to_owned(), golden).is_none(), "two blocks {name}");
        } else if line.starts_with("| offset |") || line.starts_with("| bit |") {
            fields.clear();
            bits.clear();
            let in_bits = line.starts_with("| bit |");
            for row in lines.by_ref().skip(1).take_while(|line| line.starts_with('|')) {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                if in_bits {
                    bits.push((
                        cells[1].parse().unwrap(),
                        cells[2].parse().unwrap(),
                        cells[3].to_owned(),
                        integer(cells[4]),
                    ));
                } else {
                    fields.push(field(&cells));
                }
            }
        }
    }
    all
}

fn field(cells: &[&str]) -> Field {
    let len: usize = cells[2].parse().unwrap();
    let bytes = match cells[4] {
        "bytes" => hex(cells[5]),
        kind => {
            let width: usize = kind.strip_prefix('u').unwrap().parse().unwrap();
            assert_eq!(width, len * 8, "{cells:?}");
            let value = integer(cells[5]).to_le_bytes();
            assert!(value[len..].iter().all(|byte| *byte == 0), "{cells:?}");
            value[..len].to_vec()
        }
    };
    Field { offset: cells[1].parse().unwrap(), len, name: cells[3].to_owned(), bytes }
}

fn integer(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

fn hex_line(line: &str) -> Vec<u8> {
    let (_, bytes) = line.split_once("  ").expect("an offset, two blanks, bytes");
    hex(&bytes.replace(' ', ""))
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
