"""NudeNet on arrays: the network sees RGB, the boxes are the package's own, and nothing of the package is imported."""

import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage import data, transform

from palimpsest.judges import nudenet
from palimpsest.judges.detect import detect as detect_step
from palimpsest.run import UserError

FACE = nudenet.CLASSES.index("FACE_FEMALE")


@pytest.fixture(scope="module")
def net():
    return nudenet.load()


@pytest.fixture(scope="module")
def package():
    """The package's own detector, the reference of these tests."""
    return pytest.importorskip("nudenet").NudeDetector()


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


def shapes_of(astronaut):
    """Square, wide, tall and small pictures with a face well inside."""
    half = (transform.resize(astronaut, (256, 256)) * 255).astype(np.uint8)
    return {"square": astronaut, "wide": astronaut[20:320], "tall": astronaut[:, 60:400], "small": half}


def test_the_astronauts_face_is_found(net, astronaut):
    found = nudenet.detect(net, astronaut[None], floor=0.25)
    assert [nudenet.CLASSES[label] for label in found.label] == ["FACE_FEMALE"]
    assert found.score[0] == pytest.approx(0.81, abs=0.01)
    # Eyes, nose and mouth of the picture lie inside the box, and the box is no larger than the head.
    x0, y0, x1, y1 = found.box[0]
    assert x0 < 200 and x1 > 245 and y0 < 105 and y1 > 160
    assert (x1 - x0) * (y1 - y0) < 130 * 130


def test_the_network_sees_rgb_where_the_package_shows_it_bgr(net, astronaut):
    rgb = nudenet.detect(net, astronaut[None]).score.max()
    bgr = nudenet.detect(net, astronaut[None], channels="bgr").score.max()
    assert rgb == pytest.approx(0.81, abs=0.01)
    assert bgr == pytest.approx(0.72, abs=0.01)


def test_the_blob_is_the_packages(package, astronaut):
    """The package is given BGR, as its documentation has it, and its network sees BGR; given RGB it sees RGB."""
    from nudenet.nudenet import _read_image

    for image in shapes_of(astronaut).values():
        for channels, given in (("rgb", image), ("bgr", np.ascontiguousarray(image[..., ::-1]))):
            blob = _read_image(given, 320)[0]
            assert np.array_equal(nudenet.preprocess(image[None], 320, channels), blob)
    plain = np.zeros((1, 64, 64, 3), np.uint8)
    plain[..., 0] = 255  # red
    assert nudenet.preprocess(plain, 320)[0, :, 5, 5].tolist() == [1, 0, 0]
    assert nudenet.preprocess(plain, 320, "bgr")[0, :, 5, 5].tolist() == [0, 0, 1]


@pytest.mark.parametrize("shape", ["square", "wide", "tall", "small"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_boxes_are_the_packages_up_to_its_truncation(net, package, astronaut, shape, channels):
    image = shapes_of(astronaut)[shape]
    given = image if channels == "rgb" else np.ascontiguousarray(image[..., ::-1])
    wanted = package.detect(given)
    ours = nudenet.detect(net, image[None], floor=0.25, channels=channels)
    assert len(wanted) == len(ours) > 0
    for one, label, score, box in zip(wanted, ours.label, ours.score, ours.box, strict=True):
        assert one["class"] == nudenet.CLASSES[label]
        assert one["score"] == pytest.approx(score, abs=1e-4)
        x0, y0, x1, y1 = box
        assert np.abs(np.array(one["box"]) + 0.5 - [x0, y0, x1 - x0, y1 - y0]).max() < 0.51


def test_weak_boxes_below_the_packages_floor_can_be_had(net, astronaut):
    strong = nudenet.detect(net, astronaut[None], floor=0.25)
    weak = nudenet.detect(net, astronaut[None], floor=0.005)
    assert len(weak) > len(strong)
    assert weak.score.min() < 0.2
    assert np.all(weak.score >= 0.005)
    assert np.allclose(weak.box[0], strong.box[0])


def test_overlapping_boxes_of_other_classes_are_suppressed(net, astronaut):
    loose = nudenet.detect(net, astronaut[None], floor=0.005, overlap=1.0)
    tight = nudenet.detect(net, astronaut[None], floor=0.005, overlap=0.45)
    assert len(tight) < len(loose)
    boxes = [[float(x0), float(y0), float(x1 - x0), float(y1 - y0)] for x0, y0, x1, y1 in loose.box]
    kept = cv2.dnn.NMSBoxes(boxes, loose.score.tolist(), 0.001, 0.45)
    assert np.allclose(tight.box, loose.box[np.sort(kept)])


def test_a_batch_is_its_images_one_by_one(net, astronaut):
    small = shapes_of(astronaut)["small"]
    images = np.stack([small, np.zeros_like(small), small[:, ::-1], np.roll(small, 40, 1), small])
    together = nudenet.detect(net, images, floor=0.2, batch=2)
    for index, image in enumerate(images):
        alone = nudenet.detect(net, image[None], floor=0.2)
        mine = together.select(together.image == index)
        assert np.array_equal(mine.label, alone.label)
        assert np.allclose(mine.box, alone.box, atol=0.05)
    assert 1 not in together.image


def test_boxes_end_at_the_edges_of_the_image(net, astronaut):
    """A face cut by the left and top edge: the box ends there and keeps its right and lower side."""
    cut = astronaut[110:, 200:][None]
    found = nudenet.detect(net, cut, floor=0.01)
    assert len(found)
    assert found.box[:, :2].min() == 0
    height, width = cut.shape[1:3]
    assert np.all(found.box >= 0) and np.all(found.box <= [width, height, width, height])
    assert np.all(found.box[:, 2:] > found.box[:, :2])


def test_decode_places_and_thresholds_anchors():
    """Two anchors by hand: one reaches the floor with its second class, one does not."""
    output = np.zeros((2, 22, 3), np.float32)
    output[1, :4, 2] = (50, 60, 20, 40)
    output[1, 4 + 7, 2], output[1, 4 + 3, 2], output[0, 4, 0] = 0.6, 0.5, 0.09
    image, label, score, box = nudenet.decode(output, first=10, floor=0.1)
    assert (image.tolist(), label.tolist(), box.tolist()) == ([11], [7], [[40, 40, 60, 80]])
    assert score[0] == pytest.approx(0.6)


def test_no_images_give_no_boxes(net):
    assert len(nudenet.detect(net, np.zeros((0, 64, 64, 3), np.uint8))) == 0


def test_another_resolution(net, astronaut):
    found = nudenet.detect(net, astronaut[None], floor=0.25, resolution=256)
    assert FACE in found.label
    with pytest.raises(UserError, match="multiple of 32"):
        nudenet.detect(net, astronaut[None], resolution=300)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"floor": 0}, "floor is 0"), ({"overlap": 2}, "overlap 2"), ({"channels": "rbg"}, "give rgb or bgr")],
)
def test_wrong_settings_are_refused(net, astronaut, settings, message):
    with pytest.raises(UserError, match=message):
        nudenet.detect(net, astronaut[None], **settings)


def test_float_images_are_refused(net, astronaut):
    with pytest.raises(ValueError, match="give uint8"):
        nudenet.detect(net, astronaut[None] / 255)


def test_class_names():
    assert nudenet.class_indices(["FACE_FEMALE", "BUTTOCKS_COVERED"]).tolist() == [1, 17]
    with pytest.raises(UserError) as caught:
        nudenet.class_indices(["FACE_FEMALE", "FACE"])
    assert all(name in str(caught.value) for name in nudenet.CLASSES)
    assert "no class FACE:" in str(caught.value)


def test_the_labels_are_the_packages(package):
    from nudenet import nudenet as module

    assert list(nudenet.CLASSES) == module.__dict__["__labels"]


def test_a_wrong_network_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        nudenet.load(tmp_path / "640m.onnx")
    (tmp_path / "640m.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match="no readable ONNX network"):
        nudenet.load(tmp_path / "640m.onnx")
    with pytest.raises(UserError, match="has no MagicProvider"):
        nudenet.load(providers=("MagicProvider",))


def test_the_package_is_not_imported():
    code = "import sys; from palimpsest.judges import nudenet; nudenet.load(); sys.exit('nudenet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_detect_step_finds_the_astronauts_face(tmp_path):
    """The step over every detector, on a memory-mapped set, as the workflow runs it."""
    np.save(tmp_path / "images.npy", data.astronaut()[None])
    detect_step(tmp_path / "images.npy", tmp_path / "boxes.parquet", detector="nudenet", params={"resolution": 320})
    boxes = pd.read_parquet(tmp_path / "boxes.parquet")
    best = boxes.loc[boxes["score"].idxmax()]
    assert best["label"] == "FACE_FEMALE"
    assert best["score"] > 0.7
