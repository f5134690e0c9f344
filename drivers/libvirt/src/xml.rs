//! XML as libvirt takes it: elements are values, and whatever stands in them is escaped.

use std::fmt::{self, Write};

/// An element with attributes and either text or elements in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: Option<String>,
    children: Vec<Element>,
}

impl Element {
    /// An empty element.
    pub(crate) fn new(name: &'static str) -> Self {
        Element {
            name,
            attributes: Vec::new(),
            text: None,
            children: Vec::new(),
        }
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, attribute: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.push((attribute, value.to_string()));
        self
    }

    /// Sets the text.
    pub(crate) fn text(mut self, text: impl fmt::Display) -> Self {
        self.text = Some(text.to_string());
        self
    }

    /// Adds an element in it.
    pub(crate) fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Adds elements in it.
    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        write!(f, "{indent}<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}='")?;
            escape(f, value)?;
            f.write_char('\'')?;
        }
        match (&self.text, self.children.is_empty()) {
            (None, true) => f.write_str("/>\n"),
            (Some(text), _) => {
                f.write_char('>')?;
                escape(f, text)?;
                writeln!(f, "</{}>", self.name)
            }
            (None, false) => {
                f.write_str(">\n")?;
                for child in &self.children {
                    child.write(f, depth + 1)?;
                }
                writeln!(f, "{indent}</{}>", self.name)
            }
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// What XML 1.0 has no way to write (control characters, section 2.2) becomes U+FFFD, so that it is seen and refused
/// by whoever looks for such a file, rather than cut short.
fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for char in text.chars() {
        match char {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '\'' => f.write_str("&apos;")?,
            '"' => f.write_str("&quot;")?,
            '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(char))?,
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => {
                f.write_char('\u{fffd}')?;
            }
            char => f.write_char(char)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_it() {
        let hostile = "a'/><domain x=\"&amp;\">\n\u{1}\u{0}]]>é";
        let element = Element::new("disk")
            .with("file", hostile)
            .child(Element::new("name").text(hostile));
        let xml = element.to_string();
        let read = roxmltree::Document::parse(&xml).unwrap();
        let seen = hostile.replace(['\u{1}', '\u{0}'], "\u{fffd}");
        assert_eq!(read.root_element().attribute("file"), Some(seen.as_str()));
        assert_eq!(
            read.root_element()
                .children()
                .filter(|c| c.is_element())
                .count(),
            1
        );
        assert_eq!(
            read.descendants()
                .find(|n| n.has_tag_name("name"))
                .unwrap()
                .text(),
            Some(seen.as_str())
        );
        assert!(!xml.contains('\0'));
    }
}
