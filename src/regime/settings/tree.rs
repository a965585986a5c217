//! An XML text, and where each of its elements lies in it.
//!
//! The text stays the truth: the tree only points into it, so that whoever changes a value splices
//! the text and leaves the rest as it was. Depth, number of elements and length are bounded; a
//! document type that declares entities is refused, and other references than those of XML itself
//! are errors. Nothing here recurses.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};

/// How deep elements may lie in each other. Settings need six levels.
pub(super) const MAX_DEPTH: usize = 64;
/// How many elements there may be. Settings need a hundred, and one for each attachment.
pub(super) const MAX_ELEMENTS: usize = 50_000;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) why: String,
}

/// An element. Ranges are bytes of the text.
#[derive(Clone, Debug)]
pub(super) struct Element {
    /// The name as it is written, prefix and all.
    pub(super) name: Range<usize>,
    /// The start tag, or the whole element where it is empty (`<Name/>`).
    pub(super) tag: Range<usize>,
    /// Whether it is written as one tag.
    pub(super) empty: bool,
    /// Where its end tag begins.
    pub(super) content_end: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// The line of its start tag, from 1.
    pub(super) line: u32,
    /// What it says itself, references resolved, without what its children say.
    pub(super) value: String,
    /// Where that stands in the text.
    pub(super) pieces: Vec<Range<usize>>,
    /// Its children, in order.
    pub(super) children: Vec<usize>,
}

/// The elements of a text; the first one is the root.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) elements: Vec<Element>,
}

impl Tree {
    /// Reads `text`.
    pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
        Builder { text, tree: Tree::default(), open: Vec::new(), at: 0, lines: Lines::new(text) }
            .run()
    }
}

struct Builder<'t> {
    text: &'t str,
    tree: Tree,
    /// The elements that are not closed yet, outermost first.
    open: Vec<usize>,
    /// Where the event begins that is looked at.
    at: usize,
    lines: Lines<'t>,
}

impl Builder<'_> {
    fn run(mut self) -> Result<Tree, Fault> {
        let mut reader = Reader::from_str(self.text);
        reader.config_mut().check_comments = true;
        loop {
            self.at = place(reader.buffer_position());
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(e) => {
                    let line = self.lines.of(place(reader.error_position()));
                    return Err(Fault { line, why: format!("this is not XML: {e}") });
                }
            };
            let span = self.at..place(reader.buffer_position());
            if let Event::Eof = event {
                return self.finish();
            }
            self.take(event, span)?;
        }
    }

    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Fault> {
        match event {
            Event::Start(start) => {
                let element = self.element(&start, span, false)?;
                self.open.push(element);
                Ok(())
            }
            Event::Empty(start) => self.element(&start, span, true).map(|_| ()),
            Event::End(_) => self.close(span),
            Event::Text(text) => {
                let text = text.decode().map_err(|e| self.fault(e))?;
                self.say(&text, span)
            }
            Event::CData(data) => {
                let text = data.decode().map_err(|e| self.fault(e))?;
                self.say(&text, span)
            }
            Event::GeneralRef(reference) => {
                let said = self.resolve(&reference)?;
                self.say(&said, span)
            }
            Event::Decl(declaration) => self.declaration(&declaration),
            Event::DocType(kind) => {
                let kind = kind.decode().map_err(|e| self.fault(e))?;
                match kind.contains(['[', '<', '%']) {
                    true => {
                        Err(self.fault("a document type with declarations is not allowed here"))
                    }
                    false => Ok(()),
                }
            }
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn element(
        &mut self,
        start: &BytesStart<'_>,
        tag: Range<usize>,
        empty: bool,
    ) -> Result<usize, Fault> {
        if let Some(wrong) = start.attributes().find_map(Result::err) {
            return Err(self.fault(format!("this is not XML: {wrong}")));
        }
        if self.tree.elements.len() >= MAX_ELEMENTS {
            return Err(self.fault(format!("there are more than {MAX_ELEMENTS} elements")));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault(format!("elements lie more than {MAX_DEPTH} deep")));
        }
        let index = self.tree.elements.len();
        match self.open.last() {
            Some(parent) => self.tree.elements[*parent].children.push(index),
            None if index > 0 => return Err(self.fault("there is more than one root element")),
            None => {}
        }
        let name = tag.start + 1..tag.start + 1 + start.name().as_ref().len();
        self.tree.elements.push(Element {
            name,
            empty,
            content_end: tag.end,
            end: tag.end,
            line: self.lines.of(tag.start),
            value: String::new(),
            pieces: Vec::new(),
            children: Vec::new(),
            tag,
        });
        Ok(index)
    }

    fn close(&mut self, span: Range<usize>) -> Result<(), Fault> {
        let Some(index) = self.open.pop() else {
            return Err(self.fault("an element ends here that did not begin"));
        };
        let element = &mut self.tree.elements[index];
        element.content_end = span.start;
        element.end = span.end;
        Ok(())
    }

    fn say(&mut self, text: &str, span: Range<usize>) -> Result<(), Fault> {
        if let Some(index) = self.open.last() {
            let element = &mut self.tree.elements[*index];
            element.value.push_str(text);
            element.pieces.push(span);
            return Ok(());
        }
        if text.trim().is_empty() {
            return Ok(());
        }
        self.at += text.len() - text.trim_start().len();
        Err(self.fault("there is text outside of the root element"))
    }

    fn resolve(&mut self, reference: &BytesRef<'_>) -> Result<String, Fault> {
        let character = reference.resolve_char_ref().map_err(|e| self.fault(e))?;
        if let Some(character) = character {
            return Ok(character.to_string());
        }
        let name = reference.decode().map_err(|e| self.fault(e))?;
        match resolve_predefined_entity(&name) {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.fault(format!("the entity \"{}\" is unknown", name.escape_debug()))),
        }
    }

    fn declaration(&mut self, declaration: &BytesDecl<'_>) -> Result<(), Fault> {
        let encoding = match declaration.encoding() {
            None => return Ok(()),
            Some(Ok(name)) => String::from_utf8_lossy(&name).into_owned(),
            Some(Err(e)) => return Err(self.fault(format!("this is not XML: {e}"))),
        };
        match ["utf-8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
            true => Ok(()),
            false => Err(self.fault(wrong_encoding(&encoding))),
        }
    }

    fn finish(mut self) -> Result<Tree, Fault> {
        if let Some(open) = self.open.last() {
            let element = &self.tree.elements[*open];
            let name = &self.text[element.name.clone()];
            let why = format!("this is not XML: the element \"{name}\" does not end");
            return Err(Fault { line: element.line, why });
        }
        match self.tree.elements.is_empty() {
            true => Err(self.fault("this is not XML: there is no element")),
            false => Ok(self.tree),
        }
    }

    fn fault(&mut self, why: impl ToString) -> Fault {
        Fault { line: self.lines.of(self.at), why: why.to_string() }
    }
}

/// What is said of a text in an encoding that is not read.
pub(super) fn wrong_encoding(name: &str) -> String {
    format!("the encoding is {}; only UTF-8 is read", name.escape_debug())
}

/// A position of the reader. It counts bytes of a text that is in memory.
fn place(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// Counts lines, forwards; asked for an earlier place, it begins again.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Lines<'t> {
        Lines { text: text.as_bytes(), at: 0, line: 1 }
    }

    /// The line, from 1, of the byte at `place`. A line ends with LF, CR or both.
    fn of(&mut self, place: usize) -> u32 {
        let place = place.min(self.text.len());
        if place < self.at {
            *self = Lines { text: self.text, at: 0, line: 1 };
        }
        for at in self.at..place {
            let ends = match self.text[at] {
                b'\n' => true,
                b'\r' => self.text.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line = self.line.saturating_add(u32::from(ends));
        }
        self.at = place;
        self.line
    }
}
