//! A settings file in memory: finding elements by their path, changing the text of one, and nothing
//! else.
//!
//! Paths are names below the root, prefixes of name spaces left out. Each change splices the text and
//! reads it anew, so that text and tree can never differ.

use std::ops::Range;

use quick_xml::escape::partial_escape;

use super::tree::{Element, Fault, Tree, wrong_encoding};

/// The name of the root element.
const ROOT: &str = "Preferences4D";
/// The path of the settings below the root.
pub(super) const SETTINGS: [&str; 2] = ["Backup", "Settings"];
/// A file that says nothing yet.
const NEW: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Preferences4D xmlns=\"http://www.4d.com/namespace/reserved/2004/backup\">\n\
    \x20 <Backup>\n    <Settings/>\n  </Backup>\n</Preferences4D>\n";
/// What one level more is set in by, where the file does not show it.
const INDENT: &str = "  ";
/// The mark that some editors put before UTF-8.
const BOM: &str = "\u{feff}";

/// A settings file in memory.
#[derive(Clone, Debug)]
pub(super) struct Document {
    text: String,
    tree: Tree,
    bom: bool,
}

impl Document {
    /// A file that says nothing yet.
    pub(super) fn new() -> Document {
        Document::from_text(NEW.to_owned(), false).expect("the text above is a settings file")
    }

    /// Reads the bytes of a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Document, Fault> {
        let fault = |why: String| Fault { line: 1, why };
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'<', 0, ..] | [0, b'<', ..] => {
                return Err(fault(wrong_encoding("UTF-16")));
            }
            _ => {}
        }
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let good = &bytes[..e.valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let why = match declared(good) {
                Some(name) if !name.eq_ignore_ascii_case("utf-8") => wrong_encoding(&name),
                _ => "the text is not UTF-8".to_owned(),
            };
            Fault { line: u32::try_from(line).unwrap_or(u32::MAX), why }
        })?;
        let plain = text.strip_prefix(BOM);
        Document::from_text(plain.unwrap_or(text).to_owned(), plain.is_some())
    }

    fn from_text(text: String, bom: bool) -> Result<Document, Fault> {
        let tree = Tree::parse(&text)?;
        let document = Document { text, tree, bom };
        let root = &document.tree.elements[0];
        match document.local_name(root) {
            ROOT => Ok(document),
            other => {
                let other = other.escape_debug();
                let why = format!("the root element is \"{other}\"; settings have \"{ROOT}\"");
                Err(Fault { line: root.line, why })
            }
        }
    }

    /// The file as it is to be written.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mark = if self.bom { BOM } else { "" };
        [mark, &self.text].concat().into_bytes()
    }

    /// The element at `path`, the first one where there are several.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Element> {
        let mut at = &self.tree.elements[0];
        for name in path {
            at = self.children(at).find(|child| self.local_name(child) == *name)?;
        }
        Some(at)
    }

    /// All elements directly in the first one at `path`, with their names.
    pub(super) fn inside(&self, path: &[&str]) -> Vec<(&str, &Element)> {
        let Some(parent) = self.find(path) else { return Vec::new() };
        self.children(parent).map(|child| (self.local_name(child), child)).collect()
    }

    fn children<'d>(&'d self, of: &'d Element) -> impl Iterator<Item = &'d Element> + 'd {
        of.children.iter().map(|child| &self.tree.elements[*child])
    }

    /// The paths and lines of all elements at and below `path` that have no children.
    pub(super) fn leaves(&self, path: &[&str]) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        let Some(top) = self.find(path) else { return found };
        let mut todo = vec![(String::new(), top)];
        while let Some((path, element)) = todo.pop() {
            for child in element.children.iter().rev() {
                let child = &self.tree.elements[*child];
                let separator = if path.is_empty() { "" } else { "/" };
                let below = format!("{path}{separator}{}", self.local_name(child));
                todo.push((below, child));
            }
            if element.children.is_empty() && !path.is_empty() {
                found.push((path, element.line));
            }
        }
        found.sort_by_key(|(_, line)| *line);
        found
    }

    fn local_name(&self, element: &Element) -> &str {
        let name = &self.text[element.name.clone()];
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }

    /// Makes the element at `path` say `value`, and makes it where it is not there.
    ///
    /// # Errors
    /// Where the text that comes of it cannot be read back: the document is then as it was.
    pub(super) fn set(&mut self, path: &[&str], value: &str) -> Result<(), Fault> {
        let escaped = partial_escape(value);
        let text = match self.find(path) {
            Some(element) => self.with_value(element, &escaped),
            None => self.with_new(path, &escaped),
        };
        *self = Document::from_text(text, self.bom)?;
        Ok(())
    }

    /// Takes the element at `path` out, with the line that it leaves empty.
    pub(super) fn remove(&mut self, path: &[&str]) -> Result<(), Fault> {
        let Some(element) = self.find(path) else { return Ok(()) };
        let before = &self.text[..element.tag.start];
        let lead = before.trim_end_matches([' ', '\t']);
        let lead =
            lead.strip_suffix('\n').map_or(lead, |line| line.strip_suffix('\r').unwrap_or(line));
        let text = [lead, &self.text[element.end..]].concat();
        *self = Document::from_text(text, self.bom)?;
        Ok(())
    }

    /// The text in which `element`, which is there, says `escaped`. Comments in it stay.
    fn with_value(&self, element: &Element, escaped: &str) -> String {
        if element.empty {
            return self.opened(element, escaped);
        }
        let said: Vec<&Range<usize>> = element
            .pieces
            .iter()
            .filter(|piece| !self.text[(*piece).clone()].trim().is_empty())
            .collect();
        let mut text = self.text.clone();
        let Some((first, rest)) = said.split_first() else {
            // Nothing is said yet: it goes right behind the start tag, in place of what is blank.
            let blank = element.pieces.first().filter(|piece| piece.start == element.tag.end);
            let place = blank.cloned().unwrap_or(element.tag.end..element.tag.end);
            text.replace_range(place, escaped);
            return text;
        };
        for piece in rest.iter().rev() {
            text.replace_range((*piece).clone(), "");
        }
        text.replace_range((*first).clone(), escaped);
        text
    }

    /// The text in which `element`, which is written as one tag, contains `content`.
    fn opened(&self, element: &Element, content: &str) -> String {
        let name = &self.text[element.name.clone()];
        let slash = element.tag.end - 2;
        let tag = self.text[..slash].trim_end();
        format!("{tag}>{content}</{name}>{}", &self.text[element.tag.end..])
    }

    /// The text with a new element at `path`, which says `escaped`: the last one of the deepest
    /// element on the way that is there.
    fn with_new(&self, path: &[&str], escaped: &str) -> String {
        let mut there = 0;
        while there < path.len() && self.find(&path[..there + 1]).is_some() {
            there += 1;
        }
        let parent = self.find(&path[..there]).unwrap_or(&self.tree.elements[0]);
        let own = self.indent(parent.tag.start);
        let step = match there {
            0 => INDENT.to_owned(),
            _ => self.step(&path[..there]),
        };
        let new = self.nested(&path[there..], escaped, own, &step, self.prefix(parent));
        let (line_end, own) = match own {
            Some(own) => (self.line_end(), own),
            None => ("", ""),
        };
        if parent.empty {
            return self.opened(parent, &format!("{new}{line_end}{own}"));
        }
        let last = parent.children.last().map(|child| &self.tree.elements[*child]);
        let place = last.map_or(parent.tag.end, |child| child.end);
        // A parent without children gets its end tag onto a line of its own.
        let tail = &self.text[place..];
        let alone = last.is_none() && self.text[place..parent.content_end].trim().is_empty();
        let tail = if alone { &self.text[parent.content_end..] } else { tail };
        let close = if alone { format!("{line_end}{own}") } else { String::new() };
        format!("{}{new}{close}{tail}", &self.text[..place])
    }

    /// New elements in each other, each on its line where the file has lines.
    fn nested(
        &self,
        path: &[&str],
        escaped: &str,
        own: Option<&str>,
        step: &str,
        prefix: &str,
    ) -> String {
        let (mut opening, mut closing) = (String::new(), String::new());
        let line = |depth: usize| match own {
            Some(own) => format!("{}{own}{}", self.line_end(), step.repeat(depth)),
            None => String::new(),
        };
        for (depth, name) in path.iter().enumerate() {
            opening.push_str(&format!("{}<{prefix}{name}>", line(depth + 1)));
            let end = match depth + 1 == path.len() {
                true => format!("</{prefix}{name}>"),
                false => format!("{}</{prefix}{name}>", line(depth + 1)),
            };
            closing.insert_str(0, &end);
        }
        format!("{opening}{escaped}{closing}")
    }

    /// The white space before the tag at `place`, where the tag begins its line.
    fn indent(&self, place: usize) -> Option<&str> {
        let before = &self.text[..place];
        let lead = before.trim_end_matches([' ', '\t']);
        match lead.is_empty() || lead.ends_with(['\n', '\r']) {
            true => Some(&before[lead.len()..]).filter(|_| self.text.contains(['\n', '\r'])),
            false => None,
        }
    }

    /// By how much the element at `path` is set in more than the one that it lies in.
    fn step(&self, path: &[&str]) -> String {
        let (Some(element), Some(parent)) =
            (self.find(path), self.find(&path[..path.len().saturating_sub(1)]))
        else {
            return INDENT.to_owned();
        };
        let own = self.indent(element.tag.start).unwrap_or("");
        let outer = self.indent(parent.tag.start).unwrap_or("");
        own.strip_prefix(outer).filter(|step| !step.is_empty()).unwrap_or(INDENT).to_owned()
    }

    fn line_end(&self) -> &'static str {
        match self.text.find(['\n', '\r']) {
            Some(at) if self.text[at..].starts_with("\r\n") => "\r\n",
            Some(at) if self.text[at..].starts_with('\r') => "\r",
            _ => "\n",
        }
    }

    /// The prefix of `element`, with its colon.
    fn prefix(&self, element: &Element) -> &str {
        let name = &self.text[element.name.clone()];
        name.find(':').map_or("", |colon| &name[..=colon])
    }
}

/// The encoding that the declaration of a text names.
fn declared(good: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(good).ok()?;
    let (declaration, _) = text.strip_prefix("<?xml")?.split_once("?>")?;
    let (_, named) = declaration.split_once("encoding")?;
    let named = named.trim_start().strip_prefix('=')?.trim_start();
    let quote = named.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    named[1..].split(quote).next().map(str::to_owned)
}
