//! Settings as a person writes them.

use std::collections::BTreeMap;

use crate::scene::TO;

/// The text of a settings file: [`TO`] as the destination and what is given, by the path below `Settings`.
pub(crate) fn settings(values: &[(&str, &str)]) -> String {
    #[derive(Default)]
    struct Node(BTreeMap<String, Node>, String);
    fn write(node: &Node, out: &mut String) {
        for (name, child) in &node.0 {
            *out += &format!("<{name}>{}", child.1);
            write(child, out);
            *out += &format!("</{name}>");
        }
    }
    let mut root = Node::default();
    for (path, value) in [("General/DestinationFolder", TO)].iter().chain(values) {
        let node = path
            .split('/')
            .fold(&mut root, |node, part| node.0.entry(part.to_owned()).or_default());
        node.1 = (*value).to_owned();
    }
    let mut inside = String::new();
    write(&root, &mut inside);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Preferences4D \
         xmlns=\"http://www.4d.com/namespace/reserved/2004/backup\"><Backup><Settings>{inside}\
         </Settings></Backup></Preferences4D>"
    )
}
