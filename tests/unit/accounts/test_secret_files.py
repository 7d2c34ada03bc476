"""Secrets in files."""

from concurrent.futures import ThreadPoolExecutor

from services.accounts.adapters.hmac_hasher import HmacHasher
from services.chassis.secret_files import SecretFile


def test_only_the_owner_can_read_a_secret(tmp_path):
    path = tmp_path / "secrets" / "one"
    SecretFile(path).write("first")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_writing_replaces_the_secret_and_leaves_nothing_else(tmp_path):
    file = SecretFile(tmp_path / "one")
    file.write("a rather long first secret")
    file.write("second")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("one", "second\n")]


def test_all_who_ask_for_a_missing_secret_get_the_same_one(tmp_path):
    file = SecretFile(tmp_path / "one")
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(file.read_or_write, [f"secret-{number}" for number in range(32)]))
    assert len(answers) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_secret_that_is_there_is_read_and_its_folder_left_alone(tmp_path):
    file = SecretFile(tmp_path / "one")
    file.write("of an operator")
    before = tmp_path.stat().st_mtime_ns
    assert file.read_or_write("ours") == "of an operator"
    assert tmp_path.stat().st_mtime_ns == before


def test_the_same_pepper_gives_the_same_hash_and_another_one_another(tmp_path):
    one = HmacHasher.with_pepper_in(SecretFile(tmp_path / "one"))
    again = HmacHasher.with_pepper_in(SecretFile(tmp_path / "one"))
    other = HmacHasher.with_pepper_in(SecretFile(tmp_path / "other"))
    assert one.digest("secret") == again.digest("secret") != other.digest("secret")
    assert len(one.digest("secret")) == 32
