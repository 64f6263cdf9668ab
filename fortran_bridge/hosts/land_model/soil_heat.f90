! SPDX-License-Identifier: Apache-2.0
!> Heat of the soil in two layers.
!!
!! Heat capacities are constant and soil water does not freeze: the heat content is then a plain sum and the
!! energy budget can be closed to rounding.
module soil_heat
   use constants, only: timestep, wp
   use snow, only: snow_resistance
   implicit none
   private
   public :: heat_content, ground_conductance, warm_soil

   real(wp), parameter :: depth_top = 0.15_wp
      !! [m]
   real(wp), parameter :: depth_deep = 2.5_wp
      !! About the depth that the annual cycle reaches [m].
   real(wp), parameter :: volumetric_heat_capacity = 2.2e6_wp
      !! Moist mineral soil (Hillel 1998, table 12.1) [J m-3 K-1].
   real(wp), parameter :: conductivity = 1.2_wp
      !! [W m-1 K-1]
   real(wp), parameter :: capacity_top = volumetric_heat_capacity*depth_top
      !! [J m-2 K-1]
   real(wp), parameter :: capacity_deep = volumetric_heat_capacity*depth_deep
      !! [J m-2 K-1]

contains

   elemental real(wp) function heat_content(top, deep)
      !! Heat of both layers above 0 K [J m-2].
      real(wp), intent(in) :: top
      real(wp), intent(in) :: deep
         !! Temperatures [K].

      heat_content = capacity_top*top + capacity_deep*deep
   end function heat_content

   elemental real(wp) function ground_conductance(snow_store)
      !! Conductance from the surface to the middle of the upper layer, through the snow [W m-2 K-1].
      real(wp), intent(in) :: snow_store
         !! [kg m-2]

      ground_conductance = 1.0_wp/(0.5_wp*depth_top/conductivity + snow_resistance(snow_store))
   end function ground_conductance

   elemental subroutine warm_soil(heat_flux, top, deep)
      !! Fourier's law between the layers, none through the bottom.
      real(wp), intent(in) :: heat_flux
         !! Into the soil [W m-2].
      real(wp), intent(inout) :: top
      real(wp), intent(inout) :: deep
         !! Temperatures [K].
      real(wp) :: downward

      downward = conductivity*(top - deep)/(0.5_wp*(depth_top + depth_deep))
      top = top + timestep*(heat_flux - downward)/capacity_top
      deep = deep + timestep*downward/capacity_deep
   end subroutine warm_soil
end module soil_heat
