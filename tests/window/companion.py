"""Another program on the desktop, of which a file can be dragged and whose text can be pasted: what a file manager is.

``companion.py TEXT PATH…`` opens a small window of which all PATHs can be dragged together and puts TEXT into the
clipboard. For each line that comes in on stdin it prints what the clipboard holds then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gi

TITLE = "companion"


def main() -> None:
    """Stays until stdin ends."""
    gi.require_version("Gtk", "3.0")
    from gi.repository import Gdk, GLib, Gtk

    text, uris = sys.argv[1], [Path(path).as_uri() for path in sys.argv[2:]]
    window = Gtk.Window(title=TITLE)
    window.set_default_size(160, 120)
    box = Gtk.EventBox()
    box.add(Gtk.Label(label="drag me"))
    box.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, [], Gdk.DragAction.COPY)
    box.drag_source_add_uri_targets()
    box.connect("drag-data-get", lambda _box, _context, data, _info, _time: data.set_uris(uris))
    window.add(box)
    window.show_all()
    window.move(1330, 0)
    clipboard = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
    clipboard.set_text(text, -1)

    def asked(*_: Any) -> bool:
        if not sys.stdin.readline():
            Gtk.main_quit()
            return False
        print(clipboard.wait_for_text() or "", flush=True)
        return True

    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, asked)
    Gtk.main()


if __name__ == "__main__":
    main()
