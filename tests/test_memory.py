"""How much memory there is: as the machine, the process's limits and its control groups say."""

import resource

import pytest

from narrows import containment
from narrows.containment import available, check_fits
from narrows.errors import DataError

MEGABYTE = 1 << 20


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Be in control groups of one's own making."""
    monkeypatch.setattr(containment, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(containment, "_OWN_GROUPS", tmp_path / "own")

    def be_in(line, folder, **files):
        (tmp_path / "own").write_text(line)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name.replace("__", ".")).write_text(text)

    return be_in


def test_what_is_free_is_what_the_machine_says(groups):
    groups("0::/\n", ".", memory__max="max\n", memory__current="5\n")
    assert 10 * MEGABYTE < available() == pytest.approx(containment._of_machine(), rel=0.2)


def test_groups_of_version_2_and_those_around_them_count(groups):
    group = {"memory__max": f"{100 * MEGABYTE}\n", "memory__current": f"{90 * MEGABYTE}\n"}
    groups("0::/a/b\n", "a", **group)
    groups("0::/a/b\n", "a/b", memory__max="max\n", memory__current="1\n")
    assert available() == 10 * MEGABYTE
    stat = f"anon 5\ninactive_file {30 * MEGABYTE}\nactive_file 7\n"  # of files read lately
    groups("0::/a/b\n", "a", memory__stat=stat)
    assert available() == 40 * MEGABYTE


def test_groups_of_version_1_count_and_the_root_of_a_container(groups):
    files = {
        "memory__limit_in_bytes": f"{100 * MEGABYTE}\n",
        "memory__usage_in_bytes": f"{80 * MEGABYTE}\n",
        "memory__stat": f"inactive_file 1\ntotal_inactive_file {5 * MEGABYTE}\n",
    }
    groups("7:blkio:/x\n4:memory:/outside\n", "memory", **files)
    assert available() == 25 * MEGABYTE
    groups("4:memory:/outside\n", "memory", memory__usage_in_bytes=f"{200 * MEGABYTE}\n")
    assert available() == 0
    with pytest.raises(DataError, match=r"ten would take 1e-08 GB of memory, and 0 GB are free"):
        check_fits(10, "ten", "give less", DataError)


@pytest.mark.parametrize("limit", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_limits_of_the_process_count(groups, monkeypatch, tmp_path, limit):
    groups("0::/\n", ".")
    pages = 3 * MEGABYTE // resource.getpagesize()
    (tmp_path / "statm").write_text(f"{pages} 1 1 1 0 {pages} 0\n")
    monkeypatch.setattr(containment, "_PAGES", tmp_path / "statm")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def getrlimit(asked):
        return (10 * MEGABYTE, resource.RLIM_INFINITY) if asked == limit else unlimited

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    assert available() == 7 * MEGABYTE


def test_a_system_that_says_nothing_has_all_its_memory(groups, monkeypatch):
    monkeypatch.setattr(containment, "_read_text", lambda _: "")
    assert available() > 10 * MEGABYTE
