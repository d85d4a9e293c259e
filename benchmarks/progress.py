"""A progress bar on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(steps: int, title: str) -> Iterator[Callable[[str], None]]:
    """Show a bar of so many steps; what it yields is called after each, with what was done."""
    from tqdm import tqdm

    with tqdm(total=steps, desc=title, dynamic_ncols=True) as bar:

        def step(done: str) -> None:
            bar.set_postfix_str(done, refresh=False)
            bar.update()

        yield step
