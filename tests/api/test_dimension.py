from mms.metrics.dimension import Dimension


def test_a_dimension_is_a_name_and_a_value() -> None:
    dimension = Dimension("Layer", "conv1")
    assert (dimension.name, dimension.value, str(dimension)) == ("Layer", "conv1", "Layer:conv1")
    assert dimension.to_dict() == {"Name": "Layer", "Value": "conv1"}
