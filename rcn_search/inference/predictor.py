"""A trained network as a function from images to keypoints.

Shape letters: n faces, b faces of a batch, k points.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.crops import centered_face_box, crop_to_image
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import DEFAULT_INFERENCE, InferenceConfig
from rcn_search.inference.crop_network import CropNetwork, CropPoints
from rcn_search.inference.detect_and_predict import detect_and_predict
from rcn_search.inference.detectors import AUTO, NO_DETECTOR, make_detector
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.detectors.find_faces import MIN_FACE_PX
from rcn_search.inference.faces import Faces, join_faces
from rcn_search.inference.images import Boxes, ImageLike, count_faces, crop_faces, is_single, open_image
from rcn_search.inference.latency import latency_ms
from rcn_search.inference.test_time_augmentation import NUM_VIEWS
from rcn_search.inference.weights import EXPORTED_SUFFIXES, find_weights
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.blocks import Network
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.models.composite import FlipAverage, JointModel
from rcn_search.models.decode import default_decoder
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.tcdcn import TCDCN
from rcn_search.training.checkpoint import CheckpointInfo, load_network
from rcn_search.training.compute_probe import resolve_device
from rcn_search.training.radius_table import RadiusTable
from rcn_search.training.validation import BATCH_SIZE


class Predictor:
    """A trained network on its device, with decoder and test-time augmentation. `load` opens one.

    Prediction changes nothing, so several threads may share a predictor.

    Attributes:
        info: Header of the checkpoint: configuration, keypoints, epoch.
        inference: Options of inference; decoder and device are resolved.
        network: The network, with denoiser and flip averaging where asked for.
        crop_network: The network with everything before and after it.
        record: How predictions are made, as prediction files say it.
        runtime: What runs the network, if it is an exported one; empty for PyTorch.
    """

    runtime = ""

    def __init__(
        self,
        network: Network,
        info: CheckpointInfo,
        inference: InferenceConfig = DEFAULT_INFERENCE,
        *,
        denoiser_run_id: str | None = None,
    ) -> None:
        """Put a network to use: that of the checkpoint, or the joint model made of it.

        ``inference.denoiser_uri`` is read by `load` alone; ``denoiser_run_id`` is the run of a joint model's denoiser.
        """
        decoder = inference.decoder or default_decoder(info.config.loss.name)
        device = str(resolve_device(inference.device))
        self.info = info
        self.inference = inference.model_copy(update={"decoder": decoder, "device": device})
        self.record = self.inference.record() | ({"denoiser": denoiser_run_id} if denoiser_run_id else {})
        if inference.flip:
            network = FlipAverage(network, self.schema.flip)
        self.network = network.to_device(device, torch.channels_last).eval()
        self._num_views = NUM_VIEWS if inference.multiview else 1
        self.crop_network = CropNetwork(self.network, info.config.input, decoder, multiview=inference.multiview)
        self._detectors: dict[str, Detector] = {}

    @property
    def schema(self) -> KeypointSchema:
        """Keypoints that are predicted."""
        return self.info.keypoint_schema

    @property
    def made_with(self) -> dict[str, str]:
        """How points are predicted, whatever runs the network."""
        return {key: value for key, value in self.record.items() if key != "runtime"}

    @cached_property
    def radius_table(self) -> RadiusTable | None:
        """Radii for the way in which points are predicted; None if the checkpoint is not calibrated for it."""
        return next((table for table in self.info.radius_tables if table.made_with == self.made_with), None)

    def radii_px(
        self, confidence_nk: NDArray[np.float32], face_box_n4: NDArray[np.float32], box_n4: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Find the radii (n, k) of points in pixels of the image; NaN if the checkpoint is not calibrated.

        ``face_box_n4`` is the part of each crop that the network sees, ``box_n4`` the crop in its image.
        """
        if self.radius_table is None:
            return np.full_like(confidence_nk, np.nan)
        side_px_n = face_box_n4[:, 2] * box_n4[:, 2] / self.info.crop_px
        return self.radius_table.look_up(confidence_nk) * side_px_n[:, None].astype(np.float32)

    @property
    def num_params(self) -> int:
        """Number of trained parameters."""
        return count_parameters(self.network)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds for one face, all its views included."""
        return multiply_adds(self.network, self.info.config.input.size_px) * self._num_views

    def latency_ms(self) -> float:
        """Measure the median time of one face in the network, all its views included."""
        options, device = self.info.config.input, self.inference.device
        return latency_ms(self.network, options, device, torch.channels_last) * self._num_views

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        boxes: Boxes | None = None,
        *,
        face_boxes: Boxes | None = None,
        detector: str | Detector = AUTO,
        min_face_px: int = MIN_FACE_PX,
    ) -> Faces:
        """Predict the keypoints of faces in images.

        Faces are cropped by the code that imports data sets: ``box`` and ``face_box`` of an imported face, given with
        its photograph, lead to the points that `rcn_search.evaluate` finds.

        Args:
            images: One image or a list of images. An image is a path, a Pillow image, or an array (h, w) or (h, w, 3)
                uint8. Files are turned as their EXIF orientation says.
            boxes: (n, 4) x, y, width, height of the crop around each face, in image pixels: eyes and mouth in the
                middle, with a margin of the distance between them; of one image any number, of a list one for each
                image. A box may leave the image, is rounded to whole pixels and widened to a square. None: the
                detector finds the faces, any number in each image.
            face_boxes: (n, 4) x, y, width, height of the part of each crop that the network sees, in pixels of the crop
                (`CheckpointInfo.crop_px`, by default 160x160). None: centered, and as large as is usual in training.
            detector: Name of a face detector, or a detector, for images without boxes; ``auto`` is one that is
                installed, with ``none`` each image is the crop of one face.
            min_face_px: Side of the smallest face that the detector looks for.

        Raises:
            RcnSearchError: An image cannot be used, the boxes do not fit the images, or no detector is installed.

        >>> import rcn_search
        >>> predictor = rcn_search.load(checkpoint)
        >>> faces = predictor.predict(photo, boxes=[[40, 30, 120, 120], [200, 35, 110, 110]])
        >>> faces.points.shape, faces.confidence.shape
        ((2, 5, 2), (2, 5))
        """
        if boxes is None and detector != NO_DETECTOR:
            if face_boxes is not None:
                raise RcnSearchError("face_boxes are parts of crops: give boxes as well, or detector='none'")
            listed = [images] if is_single(images) else images
            return self._predict_detected(listed, detector, min_face_px)
        return self._predict_boxes(images, boxes, face_boxes)

    def _predict_boxes(
        self, images: ImageLike | Sequence[ImageLike], boxes: Boxes | None, face_boxes: Boxes | None
    ) -> Faces:
        """Predict faces whose crops are known, in batches; one image is in memory at a time."""
        num_faces = count_faces(images, boxes)
        if face_boxes is None:
            face_boxes = np.tile(centered_face_box(self.schema, self.info.crop_px), (num_faces, 1))
        if np.shape(face_boxes) != (num_faces, 4):
            raise RcnSearchError(
                f"face_boxes have shape {np.shape(face_boxes)}; {num_faces} faces need an (n, 4) array"
            )
        face_box_n4 = torch.tensor(np.asarray(face_boxes, np.float32), device=self.inference.device)
        crops = crop_faces(images, boxes, color=self.info.config.input.color, crop_px=self.info.crop_px)
        box_n4 = np.zeros((num_faces, 4), np.float32)
        points_nk2 = np.zeros((num_faces, self.schema.num_points, 2), np.float32)
        confidence_nk = np.zeros((num_faces, self.schema.num_points), np.float32)
        for start in range(0, num_faces, BATCH_SIZE):
            image_b, box_b = zip(*islice(crops, BATCH_SIZE), strict=True)
            rows = slice(start, start + len(box_b))
            crop_b = torch.from_numpy(np.stack(image_b)).to(self.inference.device)
            predicted = self.predict_crops(crop_b, face_box_n4[rows])
            box_n4[rows] = box_b
            points_nk2[rows] = predicted.points_bk2.cpu().numpy()
            confidence_nk[rows] = predicted.confidence_bk.cpu().numpy()
        return Faces(
            points=crop_to_image(points_nk2, box_n4, self.info.crop_px),
            confidence=confidence_nk,
            radius=self.radii_px(confidence_nk, face_box_n4.cpu().numpy(), box_n4),
            boxes=box_n4,
            scores=np.full(num_faces, np.nan, np.float32),
            image_index=np.zeros(num_faces, np.int64) if is_single(images) else np.arange(num_faces),
            quarter_turns=np.zeros(num_faces, np.int64),
        )

    def _predict_detected(self, images: Sequence[ImageLike], detector: str | Detector, min_face_px: int) -> Faces:
        """Find and predict the faces of one image after the other, so that one is in memory at a time."""
        if isinstance(detector, str):
            if detector not in self._detectors:
                self._detectors[detector] = make_detector(detector)
            detector = self._detectors[detector]
        faces = [detect_and_predict(self, open_image(image), detector, min_face_px) for image in images]
        return join_faces(faces, self.schema.num_points)

    @torch.inference_mode()
    def predict_crops(self, crop_b: Tensor, face_box_b4: Tensor) -> CropPoints:
        """Predict the keypoints of a batch of crops.

        Args:
            crop_b: (b, s, s) or (b, s, s, 3) uint8 of any side s, on the device.
            face_box_b4: Part of each crop that the network sees, in crop pixels.
        """
        points: CropPoints = self.crop_network(crop_b, face_box_b4)
        return points


def load(model: str, inference: InferenceConfig = DEFAULT_INFERENCE) -> Predictor:
    """Open a trained network for prediction.

    Args:
        model: Name of packaged weights, folder of a run, or path or URI of a ``best.safetensors`` or
            ``last.safetensors``, or of a file that ``rcn-search export`` wrote (.onnx or .xml).
        inference: Options besides the weights.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or of another model.
        RcnSearchError: The file was not written by rcn-search; the network is a denoiser, or does not fit the denoiser
            of ``inference``; or the device cannot be used.

    >>> import rcn_search
    >>> predictor = rcn_search.load(checkpoint)
    >>> predictor.schema.names
    ('left_eye', 'right_eye', 'nose', 'left_mouth', 'right_mouth')
    """
    checkpoint_uri = find_weights(model)
    if checkpoint_uri.endswith(EXPORTED_SUFFIXES):
        from rcn_search.inference.export.exported_predictor import load_exported

        return load_exported(checkpoint_uri, inference)
    network, info = load_network(checkpoint_uri)
    if isinstance(network, Denoiser):
        raise RcnSearchError(
            f"{checkpoint_uri} is a denoiser, which takes no image: name it with --denoiser, beside a network"
        )
    if not (uri := inference.denoiser_uri):
        return Predictor(network, info, inference)
    if isinstance(network, TCDCN):
        raise RcnSearchError(f"{checkpoint_uri} predicts coordinates; only maps can be added to those of a denoiser")
    denoiser, denoiser_info = load_network(uri)
    if not isinstance(denoiser, Denoiser):
        raise RcnSearchError(f"{uri} is not a denoiser but a network of type {denoiser_info.config.model.name}")
    if denoiser_info.keypoint_schema != info.keypoint_schema:
        raise RcnSearchError(
            f"{uri} is a denoiser of {denoiser_info.keypoints!r} points; the network predicts {info.keypoints!r}"
        )
    return Predictor(JointModel(network, denoiser), info, inference, denoiser_run_id=denoiser_info.config.run_id)
