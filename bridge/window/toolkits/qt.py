"""What pywebview leaves open on Qt: links, downloads, the question, crashed pages, Ctrl-C in the terminal."""

from __future__ import annotations

import itertools
import queue
import signal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qtpy.QtCore import QStandardPaths, QTimer, QUrl
from qtpy.QtWidgets import QFileDialog, QMessageBox

from bridge.window.toolkits.gaps import RELOADS, Gaps, GoesOutside, Placed


class QtGaps(Gaps):
    """Fills them for one window."""

    counts_from_first_screen = True

    def __init__(self, window: Any, placed: Placed, goes_outside: GoesOutside) -> None:
        super().__init__(window, placed, goes_outside)
        self._interrupt = signal.getsignal(signal.SIGINT)

    def attach(self) -> None:
        """On Qt's thread, when the window is made and not yet shown."""
        super().attach()
        signal.signal(signal.SIGINT, self._interrupt)  # pywebview has put its own there, which asks before it ends
        page = self.window.native.webview.page()
        crashes = itertools.count()

        def decide(request: Any) -> None:
            if request.isMainFrame() and self.goes_outside(request.url().toString()):
                request.reject()

        def crashed(*_: Any) -> None:
            if next(crashes) < RELOADS:
                QTimer.singleShot(0, lambda: page.load(QUrl(self.window.real_url)))  # as at first, token included

        page.navigationRequested.connect(decide)
        page.renderProcessTerminated.connect(crashed)
        page.profile().downloadRequested.connect(self._download)

    def ask(self, title: str, question: str) -> bool:
        """Whether the person agrees. Not on Qt's thread."""
        answers: queue.Queue[bool] = queue.Queue()
        self.window.native.create_window_trigger.emit(lambda: answers.put(self._ask(title, question)))
        return answers.get()

    def take_dropped(self) -> str | None:
        """The path that was dropped last, once."""
        path = super().take_dropped()
        return None if path is None else unquote(path)

    def _ask(self, title: str, question: str) -> bool:
        """pywebview's dialog offers nothing but Cancel since Qt 6."""
        box = QMessageBox(QMessageBox.Icon.Question, title, question, parent=self.window.native)
        stay = box.addButton(self.window.localization["global.cancel"], QMessageBox.ButtonRole.RejectRole)
        leave = box.addButton(self.window.localization["global.quit"], QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)
        box.exec()
        return bool(box.clickedButton() == leave)

    def _download(self, download: Any) -> None:
        """pywebview's own calls a function that Qt 6 has no more, which ends the process."""
        place = QStandardPaths.StandardLocation.DownloadLocation
        folder = Path(QStandardPaths.writableLocation(place) or Path.home())
        start = str((folder if folder.is_dir() else Path.home()) / download.downloadFileName())
        chosen, _ = QFileDialog.getSaveFileName(self.window.native, self.window.localization["global.saveFile"], start)
        if chosen:
            download.setDownloadDirectory(str(Path(chosen).parent))
            download.setDownloadFileName(Path(chosen).name)
            download.accept()
