"""`python -m tests.simulation`: run seeds, or replay one."""

import sys
import time

import click

from tests.simulation.runner import run_seed, run_seeds

_TELL_EVERY = 1000


@click.command()
@click.option("--seeds", default=1000, show_default=True, help="How many seeds to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Run this one seed only.")
@click.option("-v", "verbose", is_flag=True, help="Show the whole story of the seed, with the product's logs.")
def main(seeds: int, first: int, seed: int | None, verbose: bool) -> None:
    """Simulate the platform and whoever breaks it; exit with 1 when a promise was broken."""
    if seed is not None:
        sys.exit(0 if _replay(seed, verbose=verbose) else 1)
    sys.exit(0 if _run(first, seeds) else 1)


def _replay(seed: int, *, verbose: bool) -> bool:
    result = run_seed(seed, with_story=verbose)
    if verbose:
        click.echo("\n".join(result.story))
    elif not result.is_green:
        click.echo(result.told())
    click.echo(f"seed {seed}: {result.what or 'every promise was kept'} (fingerprint {result.fingerprint})")
    return result.is_green


def _run(first: int, seeds: int) -> bool:
    began, broken, renders, virtual, cpu = time.monotonic(), 0, 0, 0.0, 0.0
    for number, result in enumerate(run_seeds(range(first, first + seeds)), start=1):
        renders, virtual, cpu = renders + result.renders, virtual + result.virtual_seconds, cpu + result.cpu_seconds
        if not result.is_green:
            broken += 1
            click.echo(result.told())
        if number % _TELL_EVERY == 0:
            click.echo(f"{number} seeds, {broken} broke a promise, {time.monotonic() - began:.0f} s")
    click.echo(
        f"{seeds} seeds: {seeds - broken} green, {broken} broke a promise; {renders} renders in {virtual / 3600:.0f} "
        f"virtual hours, {time.monotonic() - began:.0f} s, {1000 * cpu / seeds:.0f} ms of CPU each"
    )
    return not broken


if __name__ == "__main__":
    main()
