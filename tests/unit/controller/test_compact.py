"""A packed status is the status: whoever reads, copies or compares it sees no difference."""

from llmzero.api.stage import Phase, StageNode, StageStatus
from llmzero.controller.apply import status_patch
from llmzero.controller.compact import SELDOM, PackedStatus, compact
from tests.fakes.simulated_search import simulated


def ended() -> list[StageNode]:
    _, nodes = simulated()
    """As the API server shows them: times in whole seconds."""
    return [StageNode.model_validate(n.dump()) for n in nodes if n.status.phase.final]


def test_every_field_reads_as_before() -> None:
    nodes = ended()
    assert any(n.status.expansion for n in nodes) and any(n.status.curve.scores for n in nodes)
    for node in nodes:
        packed = compact(node)
        assert isinstance(packed.status, PackedStatus)
        assert not SELDOM & packed.status.__dict__.keys()
        for name in StageStatus.model_fields:
            assert getattr(packed.status, name) == getattr(node.status, name)
        assert packed.status.receipts == node.status.receipts
        assert packed.status.undecided == node.status.undecided
        assert packed.status.dump() == node.status.dump()
        assert packed.status == node.status
        assert packed.spec == node.spec and packed.metadata == node.metadata


def test_a_copy_with_changes_is_an_ordinary_status() -> None:
    for node in ended():
        packed = compact(node).status
        changed = packed.with_(checkpoints=[])
        assert type(changed) is StageStatus
        assert changed == node.status.with_(checkpoints=[])
        patch = status_patch("7", packed, changed)
        assert patch == status_patch("7", node.status, changed)
        assert status_patch("7", packed, packed) is None


def test_what_goes_on_stays_as_it_is_and_nothing_is_packed_twice() -> None:
    node = ended()[0]
    packed = compact(node)
    assert compact(packed) is packed
    running = node.with_(status=StageStatus(phase=Phase.RUNNING))
    assert compact(running) is running
